"""Every value that came is in the file, once, with its pulse id and its time, and nothing else is."""

import errno
import json
import os

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.channel_events import announced, channels_of, event, image, time_of, write

from forebay.errors import ConfigError, StoreError
from forebay.event import Event
from forebay.store import channel_tree
from forebay.store import manifest as m
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_layout import LAYOUTS
from forebay.store.channel_manifest import ChannelRecording, from_json
from forebay.store.check import check_file
from forebay.wire.bsread import Channel, HeaderCache, announce, decode

pytestmark = pytest.mark.flow

EVERY = pytest.mark.parametrize("layout", LAYOUTS)
ALL_TYPES = {
    "I8": np.int8(-3),
    "U64": np.uint64(2**64 - 1),
    "F32": np.float32(0.5),
    "F64": 1.25,
    "BOOL": True,
    "TEXT": "grün",
    "WAVE": np.arange(7, dtype=">i4"),
    "CUBE": np.arange(24.0).reshape(2, 3, 4),
    "ROW": np.arange(5, dtype=np.uint8).reshape(1, 5),
    "CAM:FPICTURE": np.zeros((48, 64), np.uint16),
}


def counts(received, written, repeated, not_written):
    kept = {"received": received, "written": written, "repeated": repeated}
    return kept | {"not_written": not_written, "cut": 0}


def times_of(found, layout):
    """Return the times of a channel's rows, ns."""
    return found["timestamp"].reshape(-1).astype(np.int64) * (1000 if layout == "pvdata" else 1)


@EVERY
@pytest.mark.parametrize("compression", [None, "bitshuffle_lz4", "lz4"])
def test_every_type_comes_back(tmp_path, layout, compression):
    values = {p: ALL_TYPES | {"F64": float(p), "CAM:FPICTURE": image(p)} for p in range(100, 107)}
    header = announced(values[100], compression)
    write(tmp_path / "a.h5", [event(p, v, header) for p, v in values.items()], layout=layout, size=3)
    found = channels_of(tmp_path / "a.h5")
    assert set(found) == set(ALL_TYPES)
    for name, channel in found.items():
        assert channel["pulse_id"].reshape(-1).tolist() == list(values)
        for row, p in enumerate(values):
            value = channel["data"][row]
            if name == "TEXT":
                assert np.asarray(value).item().decode() == values[p][name]
            else:
                np.testing.assert_array_equal(np.reshape(value, -1), np.reshape(values[p][name], -1))
        assert times_of(channel, layout).tolist() == [time_of(p) for p in values]
    assert check_file(tmp_path / "a.h5").is_good


@EVERY
def test_only_values_that_came_have_rows(tmp_path, layout):
    events = [
        event(p, {"FAST": float(p), "SLOW": float(p) if p % 10 == 0 else None, "NEVER": None})
        for p in range(100, 150)
    ]
    manifest = write(tmp_path / "a.h5", events, layout=layout)
    found = channels_of(tmp_path / "a.h5")
    assert found["SLOW"]["pulse_id"].reshape(-1).tolist() == [100, 110, 120, 130, 140]
    np.testing.assert_array_equal(found["SLOW"]["data"].reshape(-1), [100, 110, 120, 130, 140])
    assert "NEVER" not in found
    if layout == "bsread":
        assert found["SLOW"]["is_data_present"].tolist() == [1] * 5
    assert manifest.channels["NEVER"].rows == 0
    lost = 0 if layout == "pvdata" else 45
    assert manifest.channels["SLOW"].missing.n == lost
    with h5py.File(tmp_path / "a.h5") as file:
        groups = {"bsread": "/data/NEVER", "pvdata": "/NEVER", "data-api": None}
        assert ("NEVER" in file) == (layout == "pvdata")
        if groups[layout]:
            assert len(file[groups[layout]]) == 0


def test_modulo_and_offset_say_when_a_value_is_due(tmp_path):
    header = announce([Channel("A"), Channel("B", modulo=10, offset=3)])
    events = [
        event(p, {"A": 1.0, "B": 2.0 if p % 10 == 3 and p != 123 else None}, header) for p in range(100, 150)
    ]
    manifest = write(tmp_path / "a.h5", events)
    assert manifest.channels["B"].missing == m.PulseSet(1, ["123..123"])
    assert manifest.channels["B"].rows == 4


def test_a_channel_that_comes_late_or_goes_is_missing_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(channel_tree, "_BLOCK_MESSAGES", 8)
    events = [event(p, {"A": float(p)} | ({"LATE": p} if 120 <= p < 130 else {})) for p in range(100, 150)]
    manifest = write(tmp_path / "a.h5", events)
    assert manifest.channels["LATE"].missing.ranges == ["100..119", "130..149"]
    assert channels_of(tmp_path / "a.h5")["LATE"]["pulse_id"].tolist() == list(range(120, 130))


@EVERY
def test_a_changed_type_or_shape_goes_to_a_group_of_its_own(tmp_path, layout, monkeypatch):
    monkeypatch.setattr(channel_tree, "_BLOCK_MESSAGES", 8)
    values = {p: float(p) if p % 20 < 10 else np.arange(3) + p for p in range(100, 150)}
    manifest = write(tmp_path / "a.h5", [event(p, {"X": v}) for p, v in values.items()], layout=layout)
    found = channels_of(tmp_path / "a.h5")
    assert set(found) == {"X", "X(1)"}
    scalars = [p for p in values if p % 20 < 10]
    others = [p for p in values if p % 20 >= 10]
    assert found["X"]["pulse_id"].reshape(-1).tolist() == scalars
    np.testing.assert_array_equal(found["X"]["data"].reshape(-1), scalars)
    assert found["X(1)"]["pulse_id"].reshape(-1).tolist() == others
    np.testing.assert_array_equal(found["X(1)"]["data"][:, 0], others)
    root = "" if layout == "data-api" else "/data"
    assert manifest.channels["X"].groups == {f"{root}/X": 30, f"{root}/X(1)": 20}
    assert manifest.channels["X"].missing.n == 0
    assert check_file(tmp_path / "a.h5").is_good


def test_headers_that_alternate_keep_the_order(tmp_path):
    events = [
        event(p, {"A": p, "B": 1.5 if p % 2 else None} | ({"C": p} if p % 3 else {})) for p in range(100, 400)
    ]
    manifest = write(tmp_path / "a.h5", events)
    found = channels_of(tmp_path / "a.h5")
    np.testing.assert_array_equal(found["A"]["data"][:, 0], range(100, 400))
    np.testing.assert_array_equal(found["C"]["data"][:, 0], [p for p in range(100, 400) if p % 3])
    assert manifest.channels["C"].missing.n == 100


def test_image_of_the_wire_is_the_chunk_of_the_file(tmp_path):
    events = [event(p, {"CAM:FPICTURE": image(p)}) for p in range(100, 105)]
    write(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["data/CAM:FPICTURE/data"]
        assert data.chunks == (1, 48, 64)
        for row, one in enumerate(events):
            assert data.id.read_direct_chunk((row, 0, 0)) == (0, one.arrays.frame("CAM:FPICTURE"))


def test_big_endian_images_stay_so(tmp_path):
    events = [event(p, {"CAM:FPICTURE": image(p).astype(">u2")}) for p in range(3)]
    write(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["data/CAM:FPICTURE/data"].dtype == ">u2"
        np.testing.assert_array_equal(file["data/CAM:FPICTURE/data"][2], image(2))


def test_every_channel_has_its_own_time(tmp_path):
    events = [event(p, {"A": 1.0, "B": 2.0}, times={"B": time_of(p) - 777}) for p in range(5)]
    write(tmp_path / "a.h5", events)
    found = channels_of(tmp_path / "a.h5")
    assert found["B"]["timestamp"].tolist() == [time_of(p) - 777 for p in range(5)]
    assert found["A"]["timestamp"].tolist() == [time_of(p) for p in range(5)]


def test_a_value_without_time_has_that_of_its_pulse(tmp_path):
    events = [event(p, {"A": 1.0}) for p in range(4)]
    parts = list(events[2].arrays.parts)
    parts[3] = b""
    events[2] = decode(parts, HeaderCache())
    write(tmp_path / "a.h5", events)
    assert channels_of(tmp_path / "a.h5")["A"]["timestamp"].tolist() == [time_of(p) for p in range(4)]


def test_damaged_values_are_refused_one_by_one(tmp_path):
    events = [event(p, {"A": float(p), "B": 1, "CAM:FPICTURE": image(p)}) for p in range(10)]
    for p, i, frame in ((3, 2, b"abc"), (5, 6, b"\0" * 40), (7, 6, events[7].arrays.parts[6][:11])):
        parts = list(events[p].arrays.parts)
        parts[i] = frame
        events[p] = decode(parts, HeaderCache())
    parts = list(events[5].arrays.parts)
    parts[6] = b"\1" * 40
    events[5] = decode(parts, HeaderCache())
    manifest = write(tmp_path / "a.h5", events)
    found = channels_of(tmp_path / "a.h5")
    assert found["A"]["pulse_id"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert found["CAM:FPICTURE"]["pulse_id"].tolist() == [0, 1, 2, 3, 4, 6, 8, 9]
    np.testing.assert_array_equal(found["CAM:FPICTURE"]["data"][5], image(6))
    assert len(found["B"]["data"]) == 10
    assert (manifest.channels["A"].refused, manifest.channels["CAM:FPICTURE"].refused) == (1, 2)
    assert manifest.channels["A"].missing.ranges == ["3..3"]
    assert "3 bytes" in manifest.channels["A"].reason
    assert [
        problem.check for problem in check_file(tmp_path / "a.h5").problems if problem.severity == "loss"
    ] == [
        "not-written",
        "not-written",
    ]


def test_an_image_of_another_size_is_refused(tmp_path):
    events = [event(p, {"CAM:FPICTURE": image(p)}) for p in range(3)]
    parts = list(events[1].arrays.parts)
    parts[2] = bytes(event(1, {"CAM:FPICTURE": image(1, (24, 64))}).arrays.frame("CAM:FPICTURE"))
    manifest = write(tmp_path / "a.h5", [events[0], decode(parts, HeaderCache()), events[2]])
    assert manifest.channels["CAM:FPICTURE"].refused == 1
    assert channels_of(tmp_path / "a.h5")["CAM:FPICTURE"]["pulse_id"].tolist() == [0, 2]


def test_texts_that_hdf5_has_not_are_refused(tmp_path):
    events = [event(p, {"T": text}) for p, text in enumerate(["a", "b\0c", "d\0\0", "e"])]
    manifest = write(tmp_path / "a.h5", events)
    found = channels_of(tmp_path / "a.h5")["T"]
    assert (found["data"].tolist(), found["pulse_id"].tolist()) == ([b"a", b"d", b"e"], [0, 2, 3])
    assert manifest.channels["T"].refused == 1


def test_channels_that_cannot_be_stored_are_told(tmp_path):
    header = announce(
        [
            Channel("A"),
            {"name": "B", "type": "complex128"},
            {"name": "C", "shape": [1] * 32},
            {"name": "x" * 2000},
        ]
    )
    parts = [header.main(7, 7), header.frame, *[b"\0" * 8, b""] * 4]
    manifest = write(tmp_path / "a.h5", [decode(parts, HeaderCache())])
    assert set(channels_of(tmp_path / "a.h5")) == {"A"}
    assert [manifest.channels[name].refused for name in ("A", "B", "C", "x" * 2000)] == [0, 1, 1, 1]


@EVERY
def test_names_do_not_lead_elsewhere(tmp_path, layout):
    names = ["a/b", "/a", "..", ".", "a\nb", "data", "general", "a%2Fb", "é", "X(1)", "manifest", "a\0"]
    write(tmp_path / "a.h5", [event(p, dict.fromkeys(names, p) | {"X": 1}) for p in range(3)], layout=layout)
    manifest_groups = read_manifest(tmp_path / "a.h5").channels
    paths = [path for name in names for path in manifest_groups[name].groups]
    assert len(set(paths)) == len(names)
    with h5py.File(tmp_path / "a.h5") as file:
        assert all(file[path]["data"].shape[0] == 3 for path in paths)
    assert len(channels_of(tmp_path / "a.h5")) == len(names) + 1
    assert check_file(tmp_path / "a.h5").is_good


def read_manifest(path):
    with h5py.File(path) as file:
        return from_json(file["general/manifest"][()])


def test_only_channels_asked_for_are_written(tmp_path):
    events = [event(p, {"A": 1.0, "B": 2.0, "CAM:FPICTURE": image(p)}) for p in range(3)]
    manifest = write(tmp_path / "a.h5", events, channels=("B", "GONE"))
    assert set(channels_of(tmp_path / "a.h5")) == {"B"}
    assert set(manifest.channels) == {"B", "GONE"}
    assert manifest.channels["GONE"].missing.ranges == ["0..2"]
    losses = [problem.message for problem in check_file(tmp_path / "a.h5").problems]
    assert losses == ["Channel GONE has no value."]


def test_manifest_accounts_for_every_message(tmp_path):
    ids = [100, 101, 103, 103, 102, 104, 109]
    events = [event(p, {"A": 1.0}) for p in ids]
    events.insert(2, Event("stream", 102, time_of(102), {"A": np.array([object()])}, np.zeros(0, np.uint32)))
    recording = {"requested": m.Request(pulses="100..109"), "general": {"user": "p1", "weird/key": "x\0ü"}}
    manifest = write(tmp_path / "a.h5", events, **recording)
    assert manifest.counters.end.recorder == counts(8, 5, 2, 1)
    source = manifest.sources["stream"]
    assert (source.expected, source.got, source.missing.ranges) == (10, 5, ["102..102", "105..108"])
    assert source.not_written.ranges == ["102..102"]
    assert read_manifest(tmp_path / "a.h5") == manifest
    with h5py.File(tmp_path / "a.h5") as file:
        general = {name: dataset[()] for name, dataset in file["general"].items() if name != "manifest"}
    assert general.pop("created") == manifest.start_time[:10].encode()
    assert general == {
        "user": b"p1",
        "process": b"not given",
        "instrument": b"not given",
        "weird%2Fkey": "xü".encode(),
    }


def test_values_as_they_change_may_repeat_a_pulse(tmp_path):
    class Points(dict):
        time_ns = 0

        def timestamp_ns(self, name):
            return self.time_ns

    def point(pulse_id, **values):
        arrays = Points({name.replace("_", "|"): np.asarray(value) for name, value in values.items()})
        arrays.time_ns = time_of(pulse_id) + 5000
        return Event("epics", pulse_id, time_of(pulse_id), arrays, np.zeros(0, np.uint32))

    events = [
        point(10, PV=1.5, PV_status=np.array("HIGH"), PV_connected=np.uint8(1)),
        point(10, PV=1.75),
        point(12, PV=0.0, PV_status=np.array("unknown"), PV_connected=np.uint8(0)),
        point(11, PV=9.0),
    ]
    manifest = write(tmp_path / "a.h5", events, layout="pvdata", channels=("PV", "GONE"))
    found = channels_of(tmp_path / "a.h5")
    assert set(found) == {"PV"}
    assert found["PV"]["pulse_id"].tolist() == [[10], [10], [12]]
    assert found["PV"]["status"].tolist() == [[b"HIGH"], [b""], [b"unknown"]]
    assert found["PV"]["connected"].tolist() == [[1], [1], [0]]
    assert found["PV"]["timestamp"].tolist() == [[(time_of(p) + 5000) // 1000] for p in (10, 10, 12)]
    assert manifest.counters.end.recorder["repeated"] == 1
    assert check_file(tmp_path / "a.h5", skip=["channels"]).is_good


def test_a_stream_without_messages_is_a_whole_file(tmp_path):
    manifest = write(tmp_path / "a.h5", [], requested=m.Request(pulses="5..9"), channels=("A",))
    assert manifest.sources["stream"].missing.n == 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists"):
        ChannelFile(tmp_path / "a.h5", ChannelRecording("s"))
    with pytest.raises(ConfigError, match="layouts are: bsread, data-api, pvdata"):
        ChannelFile(tmp_path / "b.h5", ChannelRecording("s", layout="x"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_full_disk_ends_the_file_and_says_so(tmp_path, monkeypatch):
    file = ChannelFile(tmp_path / "a.h5", ChannelRecording("stream"))
    file.write([event(p, {"A": float(p), "CAM:FPICTURE": image(p)}) for p in range(5)])

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(file._journal, "append", full)
        with pytest.raises(StoreError, match="No space left"):
            file.write([event(p, {"A": float(p), "CAM:FPICTURE": image(p)}) for p in range(5, 8)])
    with pytest.raises(StoreError, match="No space left"):
        file.write([event(8, {"A": 1.0})])
    file.close()
    assert file.manifest.reason == "disk full"
    assert file.counters == counts(9, 5, 0, 4)
    found = channels_of(tmp_path / "a.h5")
    assert len(found["A"]["data"]) == len(found["CAM:FPICTURE"]["data"]) == 5
    problems = check_file(tmp_path / "a.h5").problems
    assert {problem.check for problem in problems} == {"missing-pulses", "not-written"}


def test_rows_that_hdf5_refuses_leave_the_part(tmp_path, monkeypatch):
    file = ChannelFile(tmp_path / "a.h5", ChannelRecording("stream"))
    file.write([event(p, {"A": float(p)}) for p in range(5)])
    monkeypatch.setattr(channel_tree.ChannelRows, "append", lambda *_: 1 / 0)
    with pytest.raises(StoreError, match="forebay recover"):
        file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5.part", "a.h5.part.journal"]


def test_manifest_is_json_that_others_read(tmp_path):
    write(tmp_path / "a.h5", [event(p, {"A": 1.0}) for p in range(3)])
    with h5py.File(tmp_path / "a.h5") as file:
        text = json.loads(file["general/manifest"][()])
    assert text["channels"]["A"]["groups"] == {"/data/A": 3}
    assert text["layout"] == "bsread"


VALUES = st.one_of(
    st.none(),
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=5),
    st.integers(1, 4).map(lambda n: np.arange(n, dtype="<u2")),
    st.integers(2, 3).map(lambda n: np.full((2, n), n, ">f4")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=st.sampled_from(list(LAYOUTS)),
    rows=st.lists(st.dictionaries(st.sampled_from(["A", "B", "C:D"]), VALUES, max_size=3), max_size=25),
    block=st.integers(1, 9),
)
def test_whatever_comes_is_there_once(tmp_path_factory, layout, rows, block):
    path = tmp_path_factory.mktemp("any") / "a.h5"
    came = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel_tree, "_BLOCK_MESSAGES", block)
        manifest = write(path, [event(p, values) for p, values in enumerate(rows)], layout=layout)
    for p, values in enumerate(rows):
        for name, value in values.items():
            if value is not None:
                came[name, p] = value
    found = channels_of(path)
    stored = {}
    for name, account in manifest.channels.items():
        assert account.refused == 0
        for group in account.groups:
            channel = found[group.rpartition("/")[2]]
            ids = channel["pulse_id"].reshape(-1).tolist()
            assert ids == sorted(set(ids))
            stored |= {(name, p): channel["data"][row] for row, p in enumerate(ids)}
    assert stored.keys() == came.keys()
    for key, value in came.items():
        if isinstance(value, str):
            assert np.asarray(stored[key]).item().decode() == value
        else:
            np.testing.assert_array_equal(np.reshape(stored[key], -1), np.reshape(value, -1))
    assert all(problem.check in ("channels",) for problem in check_file(path).problems)


CHANNELS = st.fixed_dictionaries(
    {"name": st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)},
    optional={
        "type": st.sampled_from(["uint8", "float64", "string", "bool", "int16", "nothing"]),
        "shape": st.lists(st.integers(0, 5), max_size=3),
        "encoding": st.sampled_from(["big", "little", "none"]),
        "compression": st.sampled_from(["none", "lz4", "bitshuffle_lz4", "zip"]),
        "modulo": st.integers(-(2**62), 2**62),
        "offset": st.integers(-(2**62), 2**62),
    },
)
SIZES = [b"", b"\0" * 8, b"\0" * 7 + b"\x08\0\0\0\x40", b"\1\0\0\0\x10\1", b"\0" * 16]


@settings(max_examples=150, deadline=None)
@given(
    layout=st.sampled_from(list(LAYOUTS)),
    channels=st.lists(CHANNELS, max_size=4),
    rows=st.lists(
        st.lists(st.one_of(st.sampled_from(SIZES), st.binary(max_size=60)), max_size=4),
        min_size=1,
        max_size=6,
    ),
)
def test_whatever_bytes_come_the_file_is_whole(tmp_path_factory, layout, channels, rows):
    path = tmp_path_factory.mktemp("any") / "a.h5"
    header = announce(channels)
    events = []
    for p, values in enumerate(rows):
        frames = [
            part for value in values[: len(channels)] for part in (value, b"\xff" * 16 if p % 2 else b"")
        ]
        events.append(decode([header.main(p, time_of(p)), header.frame, *frames], HeaderCache()))
    manifest = write(path, events, layout=layout)
    assert manifest.counters.end.recorder["written"] == len(rows)
    kinds = {problem.check for problem in check_file(path).problems}
    assert kinds <= {"channels", "not-written", "decompress"}
    assert len(channels_of(path)) <= len(channels)
