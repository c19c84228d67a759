"""Events into a file and out again, with nothing lost, torn or added; and what goes wrong is said."""

import ctypes
import errno
import json
import os
import resource
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import msgspec
import numpy as np
import pytest
import xxhash
from tests.small_disk import small_disk

from forebay.errors import OverwrittenError, StoreError
from forebay.event import Event
from forebay.store import layout, room
from forebay.store.check import check_file
from forebay.store.hdf5 import ImageFile
from forebay.store.manifest import Counters, Recording, Request, fields_of, from_json
from forebay.store.recover import recover
from forebay.wire.jungfrau import jungfrau

pytestmark = pytest.mark.flow

HEADER = jungfrau().header
SHAPE, N_MODULES, PACKETS = (64, 128), 2, 16  # a packet is 4 rows of half the columns' bytes: 512 pixels


def recording(**changes):
    plain = Recording(
        "JF01",
        SHAPE,
        "uint16",
        n_modules=N_MODULES,
        packets_per_module=PACKETS,
        detector="jungfrau",
        header=fields_of(HEADER),
        configuration={"detectors": {"JF01": {"n_modules": 2}}},
    )
    return msgspec.structs.replace(plain, **changes)


def event(pulse_id, lost=(0, 0), dtype="u2", shape=SHAPE):
    """An event whose every pixel is predictable and not 0, except where packets are lost."""
    data = np.random.default_rng(pulse_id).integers(1, 200, shape).astype(dtype)
    packets = data.reshape(N_MODULES, PACKETS, -1)
    header = np.zeros(N_MODULES, HEADER)
    header["framenum"], header["bunchid"], header["debug"] = pulse_id + 7, pulse_id, (0x3001, 0x3002)
    for i, n in enumerate(lost):
        packets[i, :n] = 0
        if n == PACKETS:
            header[i] = 0
    return Event(
        "JF01",
        pulse_id,
        1_700_000_000_000_000_000 + pulse_id * 10_000_000,
        {"data": data, "header": header},
        np.array(lost, np.uint32),
        PACKETS,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def record(path, events, **changes):
    file = ImageFile(path, recording(**changes))
    file.write(events)
    file.conclude("last pulse")
    file.close()
    return file


@pytest.mark.parametrize("compression", ["bitshuffle-lz4", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("n", [0, 1, 300])
def test_round_trip(tmp_path, compression, dtype, n):
    events = [event(p, (p % 5 == 0, 0), dtype) for p in range(1000, 1000 + n)]
    file = record(tmp_path / "a.h5", events, compression=compression, dtype=dtype)
    assert names(tmp_path) == ["a.h5"]
    assert file.counters == {"received": n, "written": n, "not_written": 0, "overwritten": 0}
    with h5py.File(tmp_path / "a.h5") as f:
        det = f["entry/instrument/JF01"]
        assert det["data"].dtype == dtype
        assert det["data"].shape == (n, *SHAPE)
        for i, e in enumerate(events):
            np.testing.assert_array_equal(det["data"][i], e.arrays["data"])
        assert det["pulse_id"][:].tolist() == [e.pulse_id for e in events]
        assert det["time_ns"][:].tolist() == [e.time_ns for e in events]
        assert det["status"][:].tolist() == [int(e.pulse_id % 5 == 0) for e in events]
        assert det["missing_packets"].shape == (n, N_MODULES)
        for i, e in enumerate(events):
            assert det["missing_packets"][i].tolist() == e.missing_packets.tolist()
            for name in HEADER.names:
                stored = det["header"][layout.field_name("jungfrau", name)][i]
                np.testing.assert_array_equal(stored, e.arrays["header"][name])
        for i in range(n):
            chunk = det["data"].id.read_direct_chunk((i, 0, 0))[1]
            assert xxhash.xxh3_64_intdigest(chunk) == det["checksum"][i]


def test_viewers_find_the_images(tmp_path):
    record(tmp_path / "a.h5", [event(5), event(6)])
    with h5py.File(tmp_path / "a.h5") as f:
        plot = f[f.attrs["default"]]
        assert plot.attrs["NX_class"] == "NXentry"
        plot = plot[plot.attrs["default"]]
        assert plot.attrs["NX_class"] == "NXdata"
        assert list(plot.attrs["axes"]) == ["pulse_id", ".", "."]
        images = plot[plot.attrs["signal"]]
        assert images == f["entry/instrument/JF01/data"]
        assert images.attrs["interpretation"] == "image"
        assert images.chunks == (1, *SHAPE)
        assert f["entry/instrument/JF01/header/daq_rec"][0].tolist() == [0x3001, 0x3002]
        for text in ("title", "start_time", "end_time"):
            assert f["entry"][text][()]


def test_old_readers_can_open_it(tmp_path):
    record(tmp_path / "a.h5", [event(5)])
    head = (tmp_path / "a.h5").read_bytes()[:9]
    assert head == b"\x89HDF\r\n\x1a\n\x00"  # superblock 0: every HDF5 since 1.0


def test_the_manifest(tmp_path):
    start = Counters({"50100": {"received": 10}}, {"frames": 2})
    end = Counters({"50100": {"received": 50}}, {"frames": 9})
    file = ImageFile(tmp_path / "a.h5", recording(requested=Request(pulses="10..19"), counters=start))
    file.write(
        [event(p, (3, 0) if p == 12 else (0, 16) if p == 15 else (0, 0)) for p in range(10, 18) if p != 14]
    )
    file.conclude("deadline", end)
    file.close()
    with h5py.File(tmp_path / "a.h5") as f:
        manifest = from_json(f["entry/manifest/data"][()])
        assert f["entry/instrument/JF01/status"][:].tolist() == [0, 0, 1, 0, 2, 0, 0]
    assert manifest == file.manifest
    account = manifest.sources["JF01"]
    assert (account.expected, account.got, account.missing.n) == (10, 7, 3)
    assert account.missing.ranges == ["14..14", "18..19"]
    assert [(i.pulse_id, i.missing_packets) for i in account.incomplete] == [(12, {"0": 3}), (15, {"1": 16})]
    assert manifest.counters.difference.receiver == {"50100": {"received": 40}}
    assert manifest.counters.difference.builder == {"frames": 7}
    assert manifest.counters.end.recorder == {"received": 7, "written": 7, "not_written": 0, "overwritten": 0}
    assert (manifest.reason, manifest.closed_by) == ("deadline", "recorder")
    assert manifest.configuration == {"detectors": {"JF01": {"n_modules": 2}}}
    assert manifest.start_time < manifest.end_time


class Slots(dict):
    """Arrays in a ring of which some pulses are overwritten while they are looked at."""

    def __init__(self, arrays, is_overwritten):
        super().__init__(arrays)
        self.is_overwritten = is_overwritten

    @contextmanager
    def lend(self, name):
        yield self[name]
        if self.is_overwritten:
            raise OverwrittenError("gone")


def test_overwritten_images_are_left_out_and_counted(tmp_path):
    events = [event(p) for p in range(20)]
    lent = [
        Event(
            e.source,
            e.pulse_id,
            e.time_ns,
            Slots(e.arrays, e.pulse_id in (3, 19)),
            e.missing_packets,
            PACKETS,
        )
        for e in events
    ]
    file = record(tmp_path / "a.h5", lent)
    assert file.counters == {"received": 20, "written": 18, "not_written": 0, "overwritten": 2}
    account = file.manifest.sources["JF01"]
    assert account.overwritten.ranges == account.missing.ranges == ["3..3", "19..19"]
    with h5py.File(tmp_path / "a.h5") as f:
        assert f["entry/data/pulse_id"][:].tolist() == [p for p in range(20) if p not in (3, 19)]
        np.testing.assert_array_equal(f["entry/data/data"][3], events[4].arrays["data"])
    report = check_file(tmp_path / "a.h5", skip=["missing-pulses"])
    assert {p.check for p in report.problems} == {"not-written"}


def test_write_waits_for_a_slow_disk(tmp_path):
    gate = threading.Event()

    class Slow(dict):
        def __getitem__(self, name):
            assert gate.wait(30)
            return super().__getitem__(name)

    events = [event(p) for p in range(12)]
    slow = [
        Event(e.source, e.pulse_id, e.time_ns, Slow(e.arrays), e.missing_packets, PACKETS) for e in events
    ]
    file = ImageFile(tmp_path / "a.h5", recording(), threads=1, n_buffers=4)
    feeder = threading.Thread(target=file.write, args=(slow,))
    feeder.start()
    while file.n_queued < 4:  # bounded by the test's own time-out
        feeder.join(0.001)
    feeder.join(0.05)
    assert feeder.is_alive()
    assert file.n_queued == file.n_buffers == 4
    assert file.counters["received"] <= 5
    gate.set()
    feeder.join()
    file.close()
    assert file.counters["written"] == 12
    assert file.n_queued == 0
    assert file.written_bytes > 0


def test_an_existing_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "a.h5").write_text("precious")
    with pytest.raises(StoreError, match="never overwritten"):
        ImageFile(tmp_path / "a.h5", recording())
    assert (tmp_path / "a.h5").read_text() == "precious"
    assert names(tmp_path) == ["a.h5"]


def test_a_part_that_is_left_must_be_recovered_first(tmp_path):
    first = ImageFile(tmp_path / "a.h5", recording())
    with pytest.raises(StoreError, match=r"forebay recover .*a\.h5\.part"):
        ImageFile(tmp_path / "a.h5", recording())
    first.close()


def test_a_file_that_appears_meanwhile_stays(tmp_path):
    file = ImageFile(tmp_path / "a.h5", recording())
    file.write([event(1)])
    (tmp_path / "a.h5").write_text("precious")
    with pytest.raises(StoreError, match="forebay recover"):
        file.close()
    assert (tmp_path / "a.h5").read_text() == "precious"
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    assert check_file(recover(tmp_path / "a.h5.part")).is_good


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"shape": (0, 5)}, "no pixels"),
        ({"header": (("a", "O"),)}, "numbers"),
    ],
)
def test_impossible_recordings_are_refused(tmp_path, changes, match):
    with pytest.raises(StoreError, match=match):
        ImageFile(tmp_path / "a.h5", recording(**changes))
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_rights(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Ask the owner"):
        ImageFile(tmp_path / "a.h5", recording())


def test_no_rights_are_explained(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("forebay.store.part.ImageLayout", refuse)
    with pytest.raises(StoreError, match="Ask the owner"):
        ImageFile(tmp_path / "a.h5", recording())
    assert names(tmp_path) == []


ROOM = layout._CLOSING_BYTES  # kept free for closing


def drain(file, events):
    """Write until the failure has come through."""
    for e in events:
        file.write([e])
    file.close()


@pytest.mark.parametrize(
    "wrong",
    [
        event(9, dtype="u4"),
        event(9, shape=(32, 128)),
        Event("JF01", 9, 0, {}, np.zeros(2, np.uint32), PACKETS),
    ],
)
def test_an_event_of_another_kind_ends_the_recording(tmp_path, wrong):
    file = ImageFile(tmp_path / "a.h5", recording())
    with pytest.raises(StoreError, match=r"pulse 9|Pulse 9|KeyError"):
        drain(file, [event(8), wrong])
    file.close()
    assert file.counters == {"received": 2, "written": 1, "not_written": 1, "overwritten": 0}
    assert file.manifest.reason.startswith("failed: ")
    report = check_file(tmp_path / "a.h5")
    assert {p.check for p in report.problems} == {"missing-pulses", "not-written"}


def test_a_layout_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    def fails(*_):
        raise TypeError("no such thing")

    monkeypatch.setattr("forebay.store.part.ImageLayout", fails)
    with pytest.raises(TypeError, match="no such thing"):
        ImageFile(tmp_path / "a.h5", recording())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_taken_after_close(tmp_path):
    file = record(tmp_path / "a.h5", [event(1)])
    file.close()
    with pytest.raises(StoreError, match="closed"):
        file.write([event(2)])


def test_disk_full_leaves_a_good_file_of_what_is_whole(tmp_path):
    """The images fill the file up to the largest size that is allowed; what was whole before is kept."""
    file = ImageFile(tmp_path / "a.h5", recording(compression="none"), threads=1)
    file.write([event(p) for p in range(50)])
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM + 100 * 2 * SHAPE[0] * SHAPE[1], old[1]))
        with pytest.raises(StoreError, match=r"File too large.*largest file size"):
            drain(file, [event(p) for p in range(50, 200)])
        file.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    counters = file.counters
    assert counters["received"] == counters["written"] + counters["not_written"]
    assert 50 <= counters["written"] < 100
    assert names(tmp_path) == ["a.h5"]
    assert file.manifest.reason == "disk full"
    report = check_file(tmp_path / "a.h5", skip=["missing-pulses", "not-written"])
    assert report.is_good, report.problems


def test_no_room_to_close_leaves_a_part_to_recover(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = ImageFile(tmp_path / "a.h5", recording())
    file.write([event(p) for p in range(20)])
    with monkeypatch.context() as patch:
        patch.setattr("forebay.store.part.build_manifest", full)
        with pytest.raises(StoreError, match=r"Free some space.*forebay recover"):
            file.close()
    assert names(tmp_path) == ["a.h5.part", "a.h5.part.journal"]
    assert check_file(recover(tmp_path / "a.h5.part")).is_good
    assert names(tmp_path) == ["a.h5"]
    with h5py.File(tmp_path / "a.h5") as f:
        np.testing.assert_array_equal(f["entry/data/data"][19], event(19).arrays["data"])


def test_what_the_disk_lost_once_is_not_forgotten(tmp_path, monkeypatch):
    """The system tells once that it could not write; each later call succeeds, also the sync at the end."""
    calls = []

    def sync_file_range(*_args):
        calls.append(_args)
        ctypes.set_errno(errno.EIO)
        return -1 if len(calls) == 9 else 0

    libc = SimpleNamespace(sync_file_range=sync_file_range, fallocate=lambda *_args: 0)
    monkeypatch.setattr(room, "_libc", lambda: libc)
    monkeypatch.setattr(room, "_WINDOW", 2**16)
    file = ImageFile(tmp_path / "a.h5", recording(compression="none"))
    with pytest.raises(StoreError, match=r"Input/output error.*The disk reports errors"):
        drain(file, [event(p) for p in range(200)])
    with pytest.raises(StoreError, match=r"Cannot close.*forebay recover"):
        file.close()
    assert len(calls) == 9
    assert names(tmp_path) == ["a.h5.part", "a.h5.part.journal"]
    report = check_file(recover(tmp_path / "a.h5.part"))
    assert report.is_good, report.problems
    with h5py.File(tmp_path / "a.h5") as f:
        assert len(f["entry/data/data"]) == file.counters["written"] > 5


def test_a_disk_that_is_full_from_the_start(tmp_path):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM - 1, old[1]))
        with pytest.raises(StoreError, match="largest file size"):
            ImageFile(tmp_path / "a.h5", recording())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert names(tmp_path) == []


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "small", 16 * 2**20) as folder:
        yield folder


def test_a_real_full_disk(disk):
    file = ImageFile(disk / "a.h5", recording(compression="none"))
    with pytest.raises(StoreError, match=r"No space left on device.*Free some space"):
        drain(file, [event(p) for p in range(2000)])
    file.close()
    assert names(disk) == ["a.h5"]
    assert file.manifest.reason == "disk full"
    report = check_file(disk / "a.h5", skip=["missing-pulses", "not-written"])
    assert report.is_good, report.problems
    assert file.counters["written"] > 100


def test_the_report_is_json(tmp_path):
    record(tmp_path / "a.h5", [event(1, (1, 0))])
    report = check_file(tmp_path / "a.h5")
    value = json.loads(msgspec.json.encode(report))
    assert value["problems"][0]["check"] == "incomplete-images"
    assert ["lost packets", "1"] in value["rows"]
