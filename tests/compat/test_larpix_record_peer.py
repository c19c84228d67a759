"""A run from the command line, in files that follow each other, with all that users put beside them."""

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import zlib

import h5py
import numpy as np
import pytest
from tests.compat.larpix_control import needs_larpix_control, peer
from tests.system.stand import free_ports

from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile

pytestmark = [pytest.mark.compat, needs_larpix_control]

FOREBAY = [sys.executable, "-m", "forebay", "larpix"]


def done(*words):
    ended = subprocess.run(
        [*FOREBAY, *map(str, words), "--json"], capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "asic_configs"
    folder.mkdir()
    for chip in (11, 12):
        about = {"CHIP_KEY": f"1-1-{chip}", "ASIC_VERSION": 2, "threshold_global": 30 + chip}
        (folder / f"config_1-1-{chip}.json").write_text(json.dumps(about))
    return folder


def record(tmp_path, *options):
    """Record one simulated board in about ten files; return their paths."""
    port = 1 + free_ports(3, socket.SOCK_STREAM)
    simulate = ["simulate", "-p", str(port), "--rate", "20000", "--count", "40000", "--wait", "--hwm", "0"]
    board = subprocess.Popen(
        [*FOREBAY, *simulate, "--patience", "5", "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        words = ["record", f"1=127.0.0.1:{port}", "-o", tmp_path / "data", "--words", 40_000, "--seconds", 60]
        (tmp_path / "data").mkdir()
        told = done(*words, "--run", 42, "--stream", "test", "--namespace", "tests", *options)
        sent = json.loads(board.communicate(timeout=30)[0])
    finally:
        board.kill()
        board.wait()
    assert told["words_not_written"] == 0
    assert told["io_group_1.data_words"] == sent["data_words"] == 40_000
    return [os.path.relpath(one, tmp_path) for one in told["files"]]


def test_packets_by_size_with_configurations(configs, tmp_path):
    names = record(
        tmp_path, "--form", "packets", "--file-bytes", 100_000, "--chip-configs", configs, "--embed", configs
    )
    assert len(names) > 3
    n_words = 0
    for i, name in enumerate(names, 1):
        path = tmp_path / name
        assert check_file(path).is_good
        assert f"packets-0000042-{i:04}-" in name
        with PacketFile(path) as file:
            n_rows = len(file)
            n_words += np.count_nonzero(file.rows()["packet_type"] < 4)
            embedded = file.daq_configs
        entry = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert entry["checksums"]["adler32"] == f"{zlib.adler32(path.read_bytes()):08x}"
        assert (entry["name"], entry["size"]) == (path.name, path.stat().st_size)
        assert entry["metadata"]["core.runs_subruns"] == [420_000 + i]
        assert entry["metadata"]["core.data_tier"] == "decoded-raw"
        with tarfile.open(fileobj=io.BytesIO(embedded)) as tar:
            assert len(tar.getnames()) == 3
        if i in (1, len(names)):
            found = peer("packets", path)
            assert len(found["packets"]) == n_rows
            assert [(one["chip_key"], one["threshold_global"]) for one in found["chips"]] == [
                ("1-1-11", 41),
                ("1-1-12", 42),
            ]
    assert n_words == 40_000


def test_raw_messages_by_time(configs, tmp_path):
    names = record(tmp_path, "--form", "raw", "--file-seconds", 0.5, "--embed", configs)
    assert len(names) > 2
    for i, name in enumerate(names, 1):
        path = tmp_path / name
        assert check_file(path).is_good
        with h5py.File(path, "r") as file:
            about = dict(file["meta"].attrs)
        # what dump_metadata.py of crs_daq reads
        assert (about["run"], about["subrun"], about["data_stream"]) == (42, 420_000 + i, "test")
        assert about["modified"] >= about["created"]
    found = peer("raw", tmp_path / names[0])
    assert found["n"] == len(found["messages"]) > 0
    converted = tmp_path / "converted.h5"
    done("convert", tmp_path / names[0], converted, "--chip-configs", configs)
    assert len(peer("packets", converted)["chips"]) == 2


def test_wrong_options_are_refused_before_anything_is_written(configs, tmp_path):
    for options, expected in (
        (["--form", "raw", "--chip-configs", configs], "cannot be written to this kind"),
        (["--form", "packets", "--chip-configs", tmp_path / "nothing.json"], "nothing.json"),
        (["--form", "packets", "--embed", tmp_path / "nothing"], "is no folder"),
    ):
        words = [*FOREBAY, "record", "1=127.0.0.1:1", "-o", tmp_path, "--seconds", "1", *options]
        ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60)
        assert ended.returncode != 0
        assert expected in ended.stderr.replace("\n", " ")
    assert [one.name for one in tmp_path.iterdir()] == ["asic_configs"]
