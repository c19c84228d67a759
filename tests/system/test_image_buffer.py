"""A detector with a buffer on disk: what has left memory is recorded from there, joined with what comes."""

import json
import os
import signal
from contextlib import closing

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
from tests.system.stand import Stand, wait_until

from forebay.errors import AbsentError
from forebay.pulse import PulseRange
from forebay.ring.disk_reader import RecordReader
from forebay.sim.options import Options
from forebay.sim.pattern import CYCLE, pattern
from forebay.sim.truth import Truth
from forebay.wire.eiger import eiger

pytestmark = [pytest.mark.system, pytest.mark.calm]

RATE, SLOTS, N_MODULES = 200, 800, 2  # memory for 4 s: longer than a killed service takes to come back
FIRST = 1000


def expected(pulse_id):
    return np.concatenate([pattern("ramp", eiger(8), pulse_id, i) for i in range(N_MODULES)])


def check_pixels(stand, file, asked):
    """The file holds just these pulses, each pixel as it was sent."""
    images = {turn: expected(turn) for turn in range(CYCLE)}
    with h5py.File(stand.data / file) as f:
        assert f["entry/data/pulse_id"][:].tolist() == list(asked)
        data = f["entry/data/data"]
        for row, pulse_id in enumerate(asked):
            np.testing.assert_array_equal(data[row], images[pulse_id % CYCLE], str(pulse_id))
    done = stand.forebay("check", stand.data / file, "--json")
    assert done.code == 0, done


def test_past_on_disk_memory_and_future(tmp_path):
    directory = tmp_path / "past"
    buffer = {"directory": str(directory), "max_bytes": 2**30}
    detector = {"bit_depth": 8, "buffer": buffer}
    build = {"patience": 300, "deadline_s": 10}  # the machine may be loaded
    with Stand(tmp_path, n_modules=N_MODULES, slots=SLOTS, detector=detector, build=build) as stand:
        stand.run()
        truth = Truth(Options(layout=eiger(8), n_modules=N_MODULES, first_pulse=FIRST), 20_000)
        sent = {beat.pulse_id for beat in truth.beats}
        assert not truth.hurt_pulses()
        stand.simulate("--bit-depth", 8, "--rate", RATE, "--first", FIRST)
        reader = wait_until(lambda: _ring(directory), "a ring on disk")

        for _ in range(3):  # what leaves memory before a killed service is back is lost
            at = kill_the_buffer(stand, reader)
            if holds(reader, at + 1):
                break

        asked = PulseRange(at - RATE // 2, at + 10)  # over the place where the buffer was killed
        assert set(asked) <= sent
        with closing(stand.ring()) as ring:
            assert ring.span.first > asked.last
        done = stand.record("disk.h5", "--pulses", str(asked), "--json").wait()
        assert done.code == 0, done
        check_pixels(stand, "disk.h5", asked)

        asked = PulseRange(at - 30, reader.span.last + RATE)  # disk, memory and what is to come
        done = stand.record("all.h5", "--pulses", str(asked), "--json").wait()
        assert done.code == 0, done
        assert json.loads(done.out)
        check_pixels(stand, "all.h5", asked)

        done = stand.record("old.h5", "--pulses", "5..20").wait()
        assert done.code == 1
        assert f"have expired: the rings hold {FIRST}.." in done.err


def _ring(directory):
    return RecordReader(directory) if directory.exists() else None


def kill_the_buffer(stand, reader):
    """Kill the service, wait until it has been back for long; return the last pulse that it had before."""

    def newest():
        return reader.span.last if reader.span else 0

    before = newest()
    wait_until(lambda: newest() > max(before, FIRST) + RATE, stand.logs)
    killed = stand.service("buffer")
    os.kill(killed, signal.SIGKILL)
    at = newest()
    wait_until(lambda: stand.service("buffer") not in (None, killed), stand.logs)
    wait_until(lambda: newest() > at + SLOTS + RATE, stand.logs)
    return at


def holds(reader, pulse_id):
    try:
        return reader.get(pulse_id).pulse_id == pulse_id
    except AbsentError:
        return False
