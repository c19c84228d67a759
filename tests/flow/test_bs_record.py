"""``forebay bs record``: a number, a range or until stopped, and the file says why it ended."""

import pytest

from forebay.pulse import PulseRange
from forebay.service.bsread_tools import record_stream
from forebay.sim.bsread import BsreadOptions, BsreadSimulator
from forebay.store.check import check_file
from forebay.store.left import manifest_of
from forebay.wire.bsread import HeaderCache, decode

pytestmark = pytest.mark.flow

SIMULATOR = BsreadSimulator(BsreadOptions())


class Stream:
    """Messages of these pulses, then silence."""

    def __init__(self, pulses):
        cache = HeaderCache()
        self.waiting = [decode(SIMULATOR.parts(p, 10**18 + p * 10**7), cache) for p in pulses]
        self.is_closed = False

    def read(self, timeout):
        events, self.waiting = self.waiting[:10], self.waiting[10:]
        return events

    def close(self):
        self.is_closed = True


def record(path, stream, *, count=None, pulses=None, idle_s=0.05, stop=lambda: False):
    recorded = record_stream(stream, path, "s", stop, (), count, pulses, "bsread", idle_s)
    assert stream.is_closed
    assert manifest_of(path).reason == recorded.reason
    assert check_file(path).is_good == (recorded.missing == 0)
    return recorded


def test_a_number_is_reached_without_a_message_more(tmp_path):
    recorded = record(tmp_path / "a.h5", Stream(range(1, 16)), count=15, idle_s=1000.0)
    assert (recorded.messages, recorded.reason) == (15, "count reached")


def test_a_number_that_does_not_come(tmp_path):
    recorded = record(tmp_path / "a.h5", Stream(range(1, 16)), count=20)
    assert (recorded.messages, recorded.reason) == (15, "nothing came for 0.05 s")


def test_a_range(tmp_path):
    recorded = record(tmp_path / "a.h5", Stream(range(1, 31)), pulses=PulseRange(5, 20), idle_s=1000.0)
    assert (recorded.first_pulse, recorded.last_pulse, recorded.messages) == (5, 20, 16)
    assert recorded.reason == "last pulse"


def test_until_stopped(tmp_path):
    stream = Stream(range(1, 16))
    recorded = record(tmp_path / "a.h5", stream, idle_s=1000.0, stop=lambda: not stream.waiting)
    assert (recorded.messages, recorded.reason) == (15, "stopped")
