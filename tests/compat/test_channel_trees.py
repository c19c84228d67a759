"""Values of the original writers' files make the same groups, types, shapes, chunks and filters."""

import gzip
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
from tests.channel_events import channels_of, event, tree_of, write

from forebay.event import Event
from forebay.wire.bsread import Channel, HeaderCache, announce, decode, message

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "channels"
CAMERA = "CAM1:FPICTURE"
ADDED = {"general", "general/manifest"}


@pytest.fixture
def original(tmp_path):
    path = tmp_path / "original.h5"
    path.write_bytes(gzip.decompress((VECTORS / "sf_bsread_writer.h5.gz").read_bytes()))
    return path


def value_at(group, row):
    """Return what the original was sent for a row; None where it notes that nothing came."""
    if not group["is_data_present"][row]:
        return None
    data = group["data"]
    if "data(1)" in group and row < len(group["data(1)"]):  # the rows before its type or shape changed
        data = group["data(1)"]
    value = data[row]
    return value.decode() if isinstance(value, bytes) else value


def test_bsread_writer(tmp_path, original):
    with h5py.File(original) as file:
        groups = file["data"]
        ids = groups["SCALAR:F64/pulse_id"][...]
        general = {name: text[()].decode() for name, text in file["general"].items()}
        came = {name: [value_at(group, row) for row in range(len(ids))] for name, group in groups.items()}
    events = [
        event(int(p), {name: values[row] for name, values in came.items()}) for row, p in enumerate(ids)
    ]
    write(tmp_path / "ours.h5", events, general=general)
    theirs, ours = tree_of(original), tree_of(tmp_path / "ours.h5")
    for name, values in came.items():
        present = [p for p, value in zip(ids, values, strict=True) if value is not None]
        group = f"data/{name}"
        assert ours.pop(f"{group}/timestamp")[1:] == (np.int64, (100,), {})
        if name == "CHANGING":
            continue
        for column in ("data", "pulse_id", "is_data_present"):
            shape, dtype, chunks, filters = ours[f"{group}/{column}"]
            assert shape == (len(present), *theirs[f"{group}/{column}"][0][1:])
            if (name, column) == (CAMERA, "data"):
                assert (dtype, chunks, list(filters)) == (np.dtype("u2"), (1, 48, 64), ["32008"])
            else:
                assert (dtype, chunks, filters) == theirs[f"{group}/{column}"][1:]
    added = {f"data/{CAMERA}/checksum", "general/manifest"}
    added |= {
        f"data/CHANGING(1){column}" for column in ("", "/data", "/pulse_id", "/is_data_present", "/timestamp")
    }
    assert ours.keys() - theirs.keys() == added
    assert theirs.keys() - ours.keys() == {"data/CHANGING/data(1)"}
    assert {name: ours[name] for name in theirs if name.startswith("general/")} == {
        name: found for name, found in theirs.items() if name.startswith("general/")
    }
    found = channels_of(tmp_path / "ours.h5")
    for name in came.keys() - {"CHANGING"}:
        rows = [row for row, value in enumerate(came[name]) if value is not None]
        assert found[name]["pulse_id"].tolist() == ids[rows].tolist()
        for row, i in enumerate(rows):
            value = came[name][i]
            np.testing.assert_array_equal(
                found[name]["data"][row], value.encode() if isinstance(value, str) else value
            )
    assert len(found["CHANGING"]["data"]) + len(found["CHANGING(1)"]["data"]) == len(ids)
    assert 0 not in np.concatenate([channel["pulse_id"] for channel in found.values()])


@pytest.mark.parametrize("name", ["bsdata", "cameras"])
def test_data_api(tmp_path, name):
    theirs = VECTORS / f"{name}.h5"
    found = channels_of(theirs)
    channels = []
    for channel, columns in found.items():
        data = columns["data"]
        if data.dtype == object:
            channels.append(Channel(channel, "string"))
            continue
        big = data.dtype.byteorder == ">"
        kind = data.dtype.newbyteorder("=").name
        compression = "bitshuffle_lz4" if data.ndim == 3 else None
        shape = data.shape[:0:-1] or (1,)
        channels.append(Channel(channel, kind, shape, "big" if big else "little", compression))
    header = announce(channels)
    events = []
    with h5py.File(theirs) as file:
        for row, p in enumerate(next(iter(found.values()))["pulse_id"]):
            values = {one: columns["data"][row] for one, columns in found.items()}
            values = {one: v.decode() if isinstance(v, bytes) else v for one, v in values.items()}
            times = {one: int(columns["timestamp"][row]) for one, columns in found.items()}
            parts = [bytes(part) for part in message(header, int(p), 0, values, times)]
            if name == "cameras":
                parts[2] = file[CAMERA]["data"].id.read_direct_chunk((row, 0, 0))[1]
            events.append(decode(parts, HeaderCache()))
    write(tmp_path / "a.h5", events, layout="data-api")
    ours = channels_of(tmp_path / "a.h5")
    assert ours.keys() == found.keys()
    for channel, columns in found.items():
        for column, values in columns.items():
            np.testing.assert_array_equal(ours[channel][column], values)
    tree, expected = tree_of(tmp_path / "a.h5"), tree_of(theirs)
    for path, one in expected.items():
        if path != f"{CAMERA}/data":
            assert tree[path] == one
        else:  # the first two options are the version of the filter that was there
            assert tree[path][:3] == one[:3]
            assert tree[path][3]["32008"][2:] == one[3]["32008"][2:]
    assert tree.keys() - expected.keys() == ADDED | ({f"{CAMERA}/checksum"} if name == "cameras" else set())
    if name == "cameras":
        with h5py.File(theirs) as a, h5py.File(tmp_path / "a.h5") as b:
            for row in range(len(events)):
                at = (row, 0, 0)
                first, second = (file[CAMERA]["data"].id.read_direct_chunk(at) for file in (a, b))
                assert first == second


class Points(dict):
    """Values of PVs with a time of their own."""

    time_ns = 0

    def timestamp_ns(self, name):
        return self.time_ns


def test_pvdata(tmp_path):
    theirs = VECTORS / "pvdata.h5"
    found = channels_of(theirs)
    events = []
    first = 21_000_000_000
    with h5py.File(theirs) as file:
        general = {name: text[()].decode() for name, text in file["general"].items()}
    for name, columns in found.items():
        for row in range(len(columns["data"])):
            value = columns["data"][row]
            value = np.array(value[0].decode()) if value.dtype == object else value
            points = Points({name: value, f"{name}|connected": columns["connected"][row]})
            points[f"{name}|status"] = np.array(columns["status"][row, 0].decode())
            points.time_ns = int(columns["timestamp"][row, 0]) * 1000
            pulse_id = int(columns["pulse_id"][row, 0]) or first - 100  # the original writes 0 for before
            events.append(Event("epics", pulse_id, points.time_ns, points, np.zeros(0, np.uint32)))
    events.sort(key=lambda one: one.pulse_id)
    names = (*found, "NEVER:CONNECTED")
    write(tmp_path / "a.h5", events, layout="pvdata", channels=names, general=general)
    ours = channels_of(tmp_path / "a.h5")
    assert ours.keys() == found.keys()
    for name, columns in found.items():
        for column in columns.keys() - {"pulse_id"}:
            np.testing.assert_array_equal(ours[name][column], columns[column])
        known = columns["pulse_id"] > 0
        np.testing.assert_array_equal(ours[name]["pulse_id"][known], columns["pulse_id"][known])
        assert (ours[name]["pulse_id"] > 0).all()
    tree, expected = tree_of(tmp_path / "a.h5"), tree_of(theirs)
    assert tree.keys() - expected.keys() == {"general/manifest"}
    assert expected.keys() <= tree.keys()
    for path, one in expected.items():
        if one is not None and path.startswith("data/"):
            assert tree[path][:2] == one[:2]
