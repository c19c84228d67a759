"""Recordings that draw on the buffer on disk: of a detector that is not received any more."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event as Stop

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest

from forebay.config import BufferConfig, parse
from forebay.errors import OverwrittenError, RingError
from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.ring.shared import RingShape, SharedRing
from forebay.service.again import Again
from forebay.service.buffer import ImageBuffer
from forebay.service.record import Recorder
from forebay.service.remembered import remembered, stays_for_a_while
from forebay.service.work_plan import plan
from forebay.store.check import check_file
from forebay.store.hdf5 import ImageFile
from forebay.store.manifest import Recording, Request
from forebay.wire.eiger import eiger

pytestmark = pytest.mark.flow

LAYOUT = eiger(8)
N_MODULES = 2


def image(pulse_id):
    rows, columns = LAYOUT.frame_shape
    return np.full((N_MODULES * rows, columns), pulse_id % 251, LAYOUT.pixel)


def event(pulse_id):
    headers = np.zeros(N_MODULES, LAYOUT.header)
    headers["framenum"] = pulse_id
    arrays = {"data": image(pulse_id), "header": headers}
    missing = np.zeros(N_MODULES, np.uint32)
    return Event("e1", pulse_id, 10**18 + pulse_id, arrays, missing, LAYOUT.packets_per_frame)


@pytest.fixture
def config(tmp_path, tmp_path_factory):
    runtime = tmp_path_factory.mktemp("r")
    runtime.chmod(0o700)
    buffer = {"directory": str(tmp_path / "past"), "max_bytes": 2**28}
    given = {
        "detectors": {"e1": {"type": "eiger", "bit_depth": 8, "n_modules": N_MODULES, "buffer": buffer}},
        "record": {"directory": str(tmp_path / "data"), "min_free_bytes": 0},
        "runtime_dir": str(runtime),
    }
    return parse(given, "test")


@pytest.fixture
def disk(config):
    """The pulses 100..149 on disk."""
    found = config.detectors["e1"].buffer
    assert isinstance(found, BufferConfig)
    shape = image(0).shape
    with closing(ImageBuffer(found, shape, LAYOUT.pixel)) as sink:
        sink.write([event(p) for p in range(100, 150)])
    return found.directory


def check_images(path, pulses):
    with h5py.File(path) as f:
        assert f["entry/data/pulse_id"][:].tolist() == list(pulses)
        for row, p in enumerate(pulses):
            np.testing.assert_array_equal(f["entry/data/data"][row], image(p))
    assert check_file(path).is_good


@pytest.mark.usefixtures("disk")
def test_a_range_on_disk_needs_no_receiver(config):
    asked = "110..129"
    planned = plan(config, "retrieve", {"sources": ["e1"], "pulses": asked}, Path(config.record.directory))
    assert planned.held == "100..149"
    recorder = Recorder(config, "e1", "a.h5", Request(pulses=asked))
    manifest = recorder.run(Stop())
    assert manifest.reason == "last pulse"
    progress = recorder.progress
    assert (progress.n_asked, progress.n_written, progress.n_lost, progress.ring_fill) == (20, 20, 0, 0)
    assert progress.pixel_bytes == 20 * image(0).nbytes
    check_images(recorder.path, range(110, 130))


@pytest.mark.usefixtures("disk")
def test_pulses_that_expired_from_disk_are_missing(config):
    recorder = Recorder(config, "e1", "a.h5", Request(pulses="90..109"))
    manifest = recorder.run(Stop())
    assert manifest.sources["e1"].missing.ranges == ["90..99"]
    with pytest.raises(OverwrittenError, match=r"100\.\.149"):
        Recorder(config, "e1", "b.h5", Request(pulses="80..89"))
    with pytest.raises(OverwrittenError, match=r"100\.\.149"):
        plan(config, "retrieve", {"sources": ["e1"], "pulses": "80..89"}, config.record.directory)


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("asked", ["140..150", "150..160"])
def test_what_is_to_come_needs_a_receiver(config, asked):
    with pytest.raises(RingError, match=r"No ring at .* on disk .*100\.\.149.*Start the service"):
        Recorder(config, "e1", "a.h5", Request(pulses=asked))
    with pytest.raises(RingError, match=r"No ring at .* on disk .*100\.\.149"):
        plan(config, "record", {"sources": ["e1"], "pulses": asked}, config.record.directory)
    with pytest.raises(RingError, match="No ring at"):
        Recorder(config, "e1", "a.h5", Request(images=3))
    assert not (config.record.directory).exists()


@pytest.mark.usefixtures("disk")
def test_what_is_remembered_without_a_receiver(config):
    assert remembered(config, "e1", PulseRange(100, 149)) == PulseRange(100, 149)
    assert stays_for_a_while(config, "e1", PulseRange(100, 149))
    with pytest.raises(RingError):
        stays_for_a_while(config, "e1", PulseRange(100, 150))
    with pytest.raises(RingError):
        remembered(config, "e1")


@pytest.mark.usefixtures("disk")
def test_with_a_receiver_both_are_drawn_from(config):
    shape = RingShape(n_slots=16, n_modules=N_MODULES)
    with closing(SharedRing.create("e1", LAYOUT, shape, config.runtime_dir)) as ring:
        ring.write([event(p) for p in range(145, 156)])
        assert remembered(config, "e1", PulseRange(0, 10)) == PulseRange(100, 155)
        recorder = Recorder(config, "e1", "a.h5", Request(pulses="140..154"))
        recorder.run(Stop())
        check_images(recorder.path, range(140, 155))


def gone(pulse_id, time_ns=None):
    """An event whose slot was used again by the time that its pixels are asked for."""

    class Gone(dict):
        def __getitem__(self, name):
            if name == "data":
                raise OverwrittenError("gone")
            return super().__getitem__(name)

    one = event(pulse_id)
    return replace(one, arrays=Gone(one.arrays), time_ns=one.time_ns if time_ns is None else time_ns)


def file_of(path, directory):
    again = None if directory is None else Again(directory)
    shape = image(0).shape
    return ImageFile(
        path,
        Recording("e1", shape, "uint8", N_MODULES, LAYOUT.packets_per_frame, requested=Request()),
        again=again,
    )


def written(path, directory, events):
    file = file_of(path, directory)
    file.write(events)
    file.conclude("stopped")
    file.close()
    return file.counters


def test_an_image_that_left_the_ring_too_early_is_taken_from_disk(tmp_path, disk):
    events = [event(100), gone(101), event(102)]
    assert written(tmp_path / "a.h5", disk, events)["overwritten"] == 0
    check_images(tmp_path / "a.h5", range(100, 103))
    assert written(tmp_path / "b.h5", None, events)["overwritten"] == 1


def test_an_image_that_the_disk_does_not_have_is_overwritten(tmp_path, disk):
    assert written(tmp_path / "a.h5", disk, [event(149), gone(150)])["overwritten"] == 1
    assert written(tmp_path / "b.h5", disk, [gone(101, time_ns=7)])["overwritten"] == 1  # another beat
    assert written(tmp_path / "c.h5", tmp_path / "none", [gone(101)])["overwritten"] == 1


def test_a_recorder_takes_it_from_disk_too(config, disk, monkeypatch):
    shape = RingShape(n_slots=16, n_modules=N_MODULES)
    with closing(SharedRing.create("e1", LAYOUT, shape, config.runtime_dir)) as ring:
        ring.write([event(p) for p in range(130, 146)])
        recorder = Recorder(config, "e1", "a.h5", Request(pulses="140..145"))
        read = recorder._selected.read

        def late(timeout):
            events = read(timeout)
            if events:
                ring.write([event(p) for p in range(1000, 1016)])
            return events

        monkeypatch.setattr(recorder._selected, "read", late)
        recorder.run(Stop())
        assert recorder.progress.n_lost == 0
        check_images(recorder.path, range(140, 146))
