"""Configurations of chips from files of others, into our files and back."""

import io
import json
import tarfile

import numpy as np
import pytest
from tests.larpix_events import blocks

from forebay.errors import ConfigError
from forebay.store import larpix_manifest as lm
from forebay.store.larpix_chips import packed, read_chips, top_folder
from forebay.store.larpix_convert import convert
from forebay.store.larpix_file import LarpixFile
from forebay.store.larpix_read import PacketFile, RawFile
from forebay.store.recover import recover
from forebay.wire.larpix.registers import settings_of

pytestmark = pytest.mark.flow

FLAT = {
    "CHIP_KEY": "1-2-11",
    "ASIC_ID": "1-1-11",
    "ASIC_VERSION": 2,
    "description": "d",
    "threshold_global": 41,
}
META = {"meta": {"CHIP_KEY": "3-4-200", "ASIC_VERSION": 3}, "cds_mode": 1, "channel_mask": [0] * 64}
CONTROL = {
    "_config_type": "chip",
    "class": "Configuration_v2b",
    "register_values": {"threshold_global": 42, "r_term0": 3},
}
LIGHTPIX = {"CHIP_KEY": "5-1-2", "ASIC_VERSION": "lightpix-v1.0", "hit_threshold": 9}
FIRST = {"CHIP_KEY": "6-1-246", "ASIC_VERSION": 1, "global_threshold": 33}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    named = {"config_a": FLAT, "b": META, "config_2-1-12": CONTROL, "c": LIGHTPIX, "d": FIRST}
    for name, content in named.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_every_way_of_writing_a_configuration(folder):
    chips = read_chips([folder])
    found = {(one.io_group, one.io_channel, one.chip_id): one for one in chips}
    assert list(found) == [(1, 2, 11), (2, 1, 12), (3, 4, 200), (5, 1, 2), (6, 1, 246)]
    said = {
        one.asic_version: settings_of(np.frombuffer(one.registers, np.uint8), one.asic_version)
        for one in chips
    }
    assert said["2"]["threshold_global"] == 41
    assert said["2"]["pixel_trim_dac"] == [16] * 64
    assert (said["2b"]["threshold_global"], said["2b"]["r_term0"]) == (42, 3)
    assert (said["3"]["cds_mode"], said["3"]["channel_mask"], said["3"]["vref_dac"]) == (1, [0] * 64, 222)
    assert said["lightpix-1"]["hit_threshold"] == 9
    assert said["1"]["global_threshold"] == 33


def test_configurations_that_include_others(tmp_path):
    (tmp_path / "quiet.json").write_text(
        json.dumps(CONTROL | {"_include": ["base.json"], "register_values": {"r_term0": 1}})
    )
    (tmp_path / "base.json").write_text(json.dumps(CONTROL))
    (tmp_path / "x-1-1-5.json").write_text(json.dumps({"_config_type": "chip", "_include": ["quiet.json"]}))
    (chip,) = read_chips([tmp_path / "x-1-1-5.json"])
    said = settings_of(np.frombuffer(chip.registers, np.uint8), "2b")
    assert (said["threshold_global"], said["r_term0"]) == (42, 1)
    (tmp_path / "base.json").write_text(json.dumps(CONTROL | {"_include": ["quiet.json"]}))
    with pytest.raises(ConfigError, match="circle"):
        read_chips([tmp_path / "x-1-1-5.json"])


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        json.dumps(FLAT | {"CHIP_KEY": "1-2"}),
        json.dumps(FLAT | {"CHIP_KEY": "1-2-256"}),
        json.dumps(FLAT | {"ASIC_VERSION": 9}),
        json.dumps(FLAT | {"threshold_global": 256}),
        json.dumps(FLAT | {"no_such_parameter": 1}),
        json.dumps(CONTROL),
        json.dumps(CONTROL | {"class": "Configuration_v9"}),
        json.dumps({"meta": 3}),
        json.dumps(FLAT | {"_include": 4}),
    ],
)
def test_what_is_no_configuration_is_named(tmp_path, content):
    path = tmp_path / "chip.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="chip"):
        read_chips([path])


def test_two_files_of_one_chip_and_no_file(folder, tmp_path):
    (folder / "again.json").write_text(json.dumps(FLAT))
    with pytest.raises(ConfigError, match="1-2-11"):
        read_chips([folder])
    with pytest.raises(ConfigError, match="There is no"):
        read_chips([tmp_path])
    with pytest.raises(ConfigError, match="no folder"):
        packed(tmp_path / "nothing")


def test_all_versions_in_one_file(folder, tmp_path):
    chips = read_chips([folder])
    boards = {f"io_group_{one.io_group}": lm.Board(one.io_group, one.asic_version) for one in chips}
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=boards, chips=chips))
    file.close()
    with PacketFile(tmp_path / "a.h5") as read:
        names = {
            dataset.attrs["asic_version"]: name for name, dataset in read.file.items() if "configs" in name
        }
        found = sorted(read.chips, key=lambda one: one.io_group)
    assert names == {
        "2": "configs",
        "2b": "configs_2b",
        "3": "configs_3",
        "lightpix-v1.0": "configs_lightpix-1",
        "1": "configs_1",
    }
    for one, other in zip(chips, found, strict=True):
        assert (one.io_group, one.io_channel, one.chip_id, one.asic_version) == (
            other.io_group,
            other.io_channel,
            other.chip_id,
            other.asic_version,
        )
        assert one.registers.ljust(256, b"\0") == other.registers.ljust(256, b"\0")


def names_in(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return sorted(tar.getnames())


@pytest.mark.parametrize("form", ["raw", "packets"])
def test_a_folder_as_it_is(folder, tmp_path, form):
    (folder / "link").symlink_to("/etc/passwd")
    data = packed(folder)
    recording = lm.LarpixRecording(form=form, boards={"board1": lm.Board(1)}, daq_configs=data)
    file = LarpixFile(tmp_path / "a.h5", recording)
    file.write(blocks(2))
    file.close()
    with (RawFile if form == "raw" else PacketFile)(tmp_path / "a.h5") as read:
        assert read.daq_configs == data
        dirname = read.file["daq_configs"].attrs["dirname"]
        assert read.file["daq_configs"].dtype == np.uint8
    assert dirname == top_folder(data) == "daq_configs.configs"
    assert names_in(data) == [
        dirname,
        *(f"{dirname}/{one}.json" for one in ("b", "c", "config_2-1-12", "config_a", "d")),
    ]
    if form == "raw":
        convert(tmp_path / "a.h5", tmp_path / "b.h5", chips=read_chips([folder / "config_a.json"]))
        with PacketFile(tmp_path / "b.h5") as read:
            assert read.daq_configs == data
            assert [one.chip_id for one in read.chips] == [11]


def test_a_killed_recorder_leaves_the_configurations(folder, tmp_path):
    chips = read_chips([folder])
    boards = {f"io_group_{one.io_group}": lm.Board(one.io_group, one.asic_version) for one in chips}
    recording = lm.LarpixRecording(boards=boards, chips=chips, daq_configs=packed(folder))
    file = LarpixFile(tmp_path / "a.h5", recording)
    file.write(blocks(2, source="io_group_1"))
    file._let_go()  # as a kill leaves it
    recover(tmp_path / "a.h5.part")
    with PacketFile(tmp_path / "a.h5") as read:
        assert len(read.chips) == 5
        assert read.daq_configs == recording.daq_configs
