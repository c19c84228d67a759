"""Images through a ring on disk into a file: compressed once, copied after that, the same pixels."""

from __future__ import annotations

from functools import cache

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest

from forebay.config import BufferConfig
from forebay.errors import OverwrittenError, StoreError
from forebay.event import Event, chunk_of
from forebay.pulse import PulseRange
from forebay.retrieve import Retrieval, Stream
from forebay.ring.disk import DiskReader
from forebay.ring.images import decode
from forebay.ring.shared import RingShape, SharedRing
from forebay.ring.shared_past import SharedPast
from forebay.service.buffer import ImageBuffer
from forebay.service.pump import pump
from forebay.store import hdf5
from forebay.store.check import check_file
from forebay.store.hdf5 import ImageFile
from forebay.store.manifest import Recording, Request, fields_of
from forebay.wire.jungfrau import jungfrau

pytestmark = pytest.mark.flow

LAYOUT = jungfrau()
SHAPE = (LAYOUT.frame_shape[0], LAYOUT.frame_shape[1])


@cache
def pixels(pulse_id):
    return np.random.default_rng(pulse_id).integers(0, 300, SHAPE).astype("u2")


def event(pulse_id, arrays=None, missing=0):
    header = np.zeros(1, LAYOUT.header)
    header["bunchid"] = pulse_id
    arrays = {"data": pixels(pulse_id), "header": header} if arrays is None else arrays
    return Event(
        "JF",
        pulse_id,
        10**18 + pulse_id * 10**7,
        arrays,
        np.array([missing], np.uint32),
        LAYOUT.packets_per_frame,
    )


def buffer(directory):
    return ImageBuffer(BufferConfig(directory=directory, max_bytes=2**28), SHAPE, np.dtype("u2"))


def recording(asked, **changes):
    return Recording(
        "JF",
        SHAPE,
        "uint16",
        packets_per_module=LAYOUT.packets_per_frame,
        header=fields_of(LAYOUT.header),
        requested=Request(pulses=str(asked)),
        **changes,
    )


def retrieved(path, source, asked, **changes):
    file = ImageFile(path, recording(asked, **changes))
    pump(source, [file], lambda: False)
    file.conclude(source.reason)
    file.close()
    return file


def test_images_are_compressed_once(tmp_path, monkeypatch):
    sink = buffer(tmp_path / "ring")
    for first in range(0, 60, 20):
        sink.write([event(p) for p in range(first, first + 20)])
    sink.close()
    sink.close()
    assert sink.counters["written"] == 60

    def refuse(*_):
        raise AssertionError("compressed again")

    monkeypatch.setattr(hdf5, "compress_into", refuse)
    asked = PulseRange(5, 54)
    source = Retrieval(Stream("JF", (DiskReader(tmp_path / "ring", decode),)), asked)
    file = retrieved(tmp_path / "a.h5", source, asked)
    assert file.counters == {"received": 50, "written": 50, "not_written": 0, "overwritten": 0}
    with h5py.File(tmp_path / "a.h5") as f:
        assert f["entry/data/pulse_id"][:].tolist() == list(asked)
        for row, p in enumerate(asked):
            np.testing.assert_array_equal(f["entry/data/data"][row], pixels(p))
    assert check_file(tmp_path / "a.h5").is_good
    report = source.report
    assert (report.expected, report.got, report.missing, report.from_past) == (50, 50, 0, 50)


def test_chunks_into_a_file_without_compression(tmp_path):
    sink = buffer(tmp_path / "ring")
    sink.write([event(p) for p in range(4)])
    sink.close()
    asked = PulseRange(0, 3)
    source = Retrieval(Stream("JF", (DiskReader(tmp_path / "ring", decode),)), asked)
    retrieved(tmp_path / "a.h5", source, asked, compression="none")
    with h5py.File(tmp_path / "a.h5") as f:
        assert f["entry/data/data"].id.get_create_plist().get_nfilters() == 0
        np.testing.assert_array_equal(f["entry/data/data"][3], pixels(3))


def test_a_chunk_of_another_shape_is_refused(tmp_path):
    sink = buffer(tmp_path / "ring")
    sink.write([event(1)])
    sink.close()
    (one,) = DiskReader(tmp_path / "ring", decode).read(PulseRange(1, 1))
    assert chunk_of(one, "data").shape == SHAPE
    assert chunk_of(one, "header") is None
    np.testing.assert_array_equal(one.arrays["data"], pixels(1))
    np.testing.assert_array_equal(one.arrays["header"], event(1).arrays["header"])
    other = Recording("JF", (SHAPE[0] // 2, SHAPE[1]), "uint16", packets_per_module=LAYOUT.packets_per_frame)
    file = ImageFile(tmp_path / "a.h5", other)
    file.write([one])
    with pytest.raises(StoreError, match="holds"):
        file.close()


def test_a_successor_leaves_out_what_is_there(tmp_path):
    first = buffer(tmp_path / "ring")
    first.write([event(p) for p in range(10)])
    first.close()
    second = buffer(tmp_path / "ring")
    second.write([event(p) for p in range(5, 15)])
    second.close()
    assert second.known == 5
    assert second.counters["written"] == 5 == 15 - first.counters["written"]
    found = DiskReader(tmp_path / "ring", decode).read(PulseRange(0, 20))
    assert [e.pulse_id for e in found] == list(range(15))


def test_images_that_left_the_ring_are_counted(tmp_path):
    class Gone(dict):
        def __getitem__(self, name):
            raise OverwrittenError("gone")

    sink = buffer(tmp_path / "ring")
    sink.write([event(1), event(2, Gone(data=0)), event(3)])
    sink.close()
    assert sink.overwritten == 1
    assert [e.pulse_id for e in DiskReader(tmp_path / "ring", decode).read(PulseRange(0, 9))] == [1, 3]


def test_shared_memory_disk_and_live(tmp_path):
    """A detector goes on while 200 pulses are retrieved: 32 in memory, all but the last 3 on disk."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    ring = SharedRing.create("JF", LAYOUT, RingShape(32, 1), runtime)
    sink = buffer(tmp_path / "ring")
    written = []

    def emit(n):
        for _ in range(n):
            written.append(event(len(written)))
            ring.write(written[-1:])
            if len(written) > 3:
                sink.write([written[-4]])
                sink.flush()

    class Going:
        def __init__(self):
            self.reader = ring.reader("newest")

        def read(self, timeout):
            emit(2)
            return self.reader.read(timeout)

        def close(self):
            pass

    emit(100)
    past = SharedPast(ring)
    assert past.span == PulseRange(84, 99)
    assert [e.pulse_id for e in past.read(PulseRange(0, 99, 5))] == [85, 90, 95]
    asked = PulseRange(20, 180)
    source = Retrieval(Stream("JF", (past, DiskReader(tmp_path / "ring", decode)), Going), asked)

    class Emitting:
        def write(self, events):
            emit(len(events) // 8)

        def close(self):
            pass

    file = ImageFile(tmp_path / "a.h5", recording(asked))
    pump(source, [file, Emitting()], lambda: False)
    file.conclude(source.reason)
    file.close()
    with h5py.File(tmp_path / "a.h5") as f:
        assert f["entry/data/pulse_id"][:].tolist() == list(asked)
        for row, p in enumerate(asked):
            np.testing.assert_array_equal(f["entry/data/data"][row], pixels(p))
    assert source.report.missing == 0
    assert source.report.from_live > 0
    sink.close()
    ring.close()


def test_shared_past_knows_a_restart(tmp_path):
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    ring = SharedRing.create("JF", LAYOUT, RingShape(16, 1), runtime)
    past = SharedPast(ring, margin=0)
    assert past.span is None
    ring.write([event(p) for p in range(100, 120)])
    assert past.span == PulseRange(104, 119)
    before = past.epoch
    again = event(3)
    ring.write([Event("JF", 3, 2 * 10**18, again.arrays, again.missing_packets, again.packets_per_module)])
    assert past.epoch == before + 1
    assert past.span == PulseRange(3, 3)
    assert [e.pulse_id for e in past.read(PulseRange(0, 200))] == [3]
    ring.close()
