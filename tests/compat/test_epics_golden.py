"""What std_daq_service's EPICS buffer held and its writer wrote, through ours."""

import ast
import json
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from forebay.pulse import PulseRange
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.pv_reader import PvReader, retrieve_pvs
from forebay.ring.pvs import PvRing
from forebay.store.channel_manifest import ChannelRecording
from forebay.store.channel_points import write_points
from forebay.store.check import check_file
from forebay.wire.epics import Update

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "epics"
PULSE_PV = "pulse"


@contextmanager
def buffered(directory, updates):
    """Write updates as the service would, in order of arrival, and lend a reader while it runs."""
    ring = PvRing(directory, DiskLimits(2**26), PULSE_PV)
    for update in sorted(updates, key=lambda one: one.received_ns):
        ring.write([update], update.received_ns)
    yield PvReader(directory)
    ring.close(max(one.received_ns for one in updates) + 1)


def update(name, received_ns, stamp_us, value, status="NO_ALARM"):
    severity = 3 if value is None else 0
    return Update(name, received_ns, stamp_us * 1000, value is not None, status, severity, value)


def redis_updates():
    """Return what the streams of Redis say: a record of each PV, and of each pulse."""
    streams = json.loads((VECTORS / "redis_streams.json").read_text())
    for name, entries in streams.items():
        for entry, texts in entries:
            number, sequence = map(int, entry.split("-"))
            fields = {key: ast.literal_eval(text) for key, text in texts.items()}
            if name == "pulse_id":
                received_ns, stamp_us = int(fields["buffer_timestamp"]), int(fields["epics_timestamp"])
                yield update(PULSE_PV, received_ns, stamp_us, np.array(number))
            elif name != "pulse_id_reverse":
                value = None
                if fields["connected"] == b"1":
                    shape = np.frombuffer(fields["shape"], "<u4")
                    value = np.frombuffer(fields["value"], "<" + fields["type"].decode()).reshape(shape)
                status = fields["status"].decode() or "unknown"
                yield update(name, number * 1_000_000 + sequence, int(fields["id"]), value, status)


def test_the_records_of_the_buffer_come_back(tmp_path):
    updates = list(redis_updates())
    names = [name for name in dict.fromkeys(one.name for one in updates) if name != PULSE_PV]
    with buffered(tmp_path / "ring", updates) as reader:
        found = retrieve_pvs(reader, (0, 2**62), names, after_s=0)
    assert list(found) == names
    for name, points in found.items():
        wanted = [one for one in updates if one.name == name]
        assert points.connected.tolist() == [one.connected for one in wanted]
        assert points.status.tolist() == [one.status for one in wanted]
        assert points.timestamp_ns.tolist() == [one.timestamp_ns for one in wanted]
        for i, one in enumerate(wanted):
            if one.value is not None:
                assert points.data.dtype == one.value.dtype
                assert points.data[i].tolist() == one.value.tolist()
    assert bytes(found["ioc:pv_2"].data[-1]) == b"str1400"
    assert found["ioc:nonexistent"].data is None


def test_pulses_of_the_buffer_choose_points_and_name_them(tmp_path):
    with buffered(tmp_path / "ring", list(redis_updates())) as reader:
        found = retrieve_pvs(reader, PulseRange(1339, 1340), ["ioc:pv_1", "ioc:pv_static"], tie=False)
    one = found["ioc:pv_1"]
    assert one.data[one.connected].ravel().tolist() == [133.0, 134.0]  # one before, none inside, one after
    assert one.pulse_id[1] == 1340
    assert one.pulse_id_known.tolist()[:2] == [False, True]
    assert found["ioc:pv_static"].data[0].tolist() == [42]


def golden_updates(golden):
    """Return updates and pulses of which the original's writer would make its file."""
    anchors = {}
    for name, group in golden["data"].items():
        for value, stamp in zip(group["data"], group["timestamp"][:, 0].tolist(), strict=True):
            yield update(name, stamp * 1000 + 500_000, stamp, value if len(value) > 1 else value[0])
            if name == "ioc:pv_1":
                anchors[int(value[0]) * 10] = stamp - 1  # strictly before, so that either rule agrees
    pulses = np.arange(min(anchors), max(anchors) + 1)
    stamps = np.interp(pulses, list(anchors), list(anchors.values())).astype(np.int64)
    for pulse_id, stamp in zip(pulses.tolist(), stamps.tolist(), strict=True):
        yield update(PULSE_PV, stamp * 1000 + 400_000, stamp, np.array(pulse_id))


def numpy_of(update):
    return update._replace(value=np.asarray(update.value))


@pytest.mark.parametrize("tie", [True, False])
def test_the_file_of_the_writer(tmp_path, tie):
    request = json.loads((VECTORS / "request.json").read_text())
    asked = PulseRange(request["start_pulse_id"], request["stop_pulse_id"])
    path = tmp_path / "ours.h5"
    with h5py.File(VECTORS / "epics_writer.h5") as golden:
        updates = [numpy_of(one) for one in golden_updates(golden)]
        first_ns = min(one.received_ns for one in updates)
        updates.append(update("ioc:nonexistent", first_ns, first_ns // 1000, None, "unknown"))
        with buffered(tmp_path / "ring", updates) as reader:
            found = retrieve_pvs(reader, asked, request["channels"], tie=tie)
        general = {key.removeprefix("general/"): text for key, text in request["metadata"].items()}
        recording = ChannelRecording("epics", "pvdata", channels=tuple(found), general=general)
        write_points(path, recording, found.values())
        with h5py.File(path) as ours:
            compare(golden, ours)
    assert check_file(path).is_good is False  # the one that never was connected is a loss
    assert {one.severity for one in check_file(path).problems} == {"loss"}


def compare(golden, ours):
    names = []
    golden.visit(names.append)
    for name in names:
        assert name in ours
        if isinstance(golden[name], h5py.Group):
            continue
        wanted, got = golden[name], ours[name]
        if name.startswith("general/"):
            assert got[()] == wanted[()]
            continue
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), name
        if not name.endswith("/pulse_id"):
            np.testing.assert_array_equal(got[()], wanted[()], name)
            continue
        np.testing.assert_array_equal(got[1:-1], wanted[1:-1], name)
        if len(got) > 1:
            # the original knew no pulse outside the range and its 5 ms, and said 0 and the last one in it
            assert (wanted[0, 0], wanted[-1, 0]) == (0, 2099)
            assert (got[0, 0], got[-1, 0]) == (1890, 2100) if "pv_1" in name else (got[-1, 0] == 2100)
        else:
            assert got[()].tolist() == wanted[()].tolist() == [[0]]
    assert set(golden["data"]) == {"ioc:pv_1", "ioc:pv_2", "ioc:pv_3", "ioc:pv_static"} == set(ours["data"])
