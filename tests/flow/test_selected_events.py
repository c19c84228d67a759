"""A stop is exact: a request gets the events that it asked for, and none beside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.event import Event
from forebay.service.pump import pump
from forebay.service.select import Selected
from forebay.store.manifest import Request

pytestmark = pytest.mark.flow


def event(pulse_id, time_ns=0):
    return Event("jf", pulse_id, time_ns, {}, np.zeros(1, np.uint32))


class Batches:
    """A source that gives these batches, then nothing; or its end."""

    def __init__(self, batches, ends=False):
        self.batches = list(batches)
        self.ends = ends

    def read(self, timeout):
        if self.batches:
            return self.batches.pop(0)
        return None if self.ends else ()

    def close(self):
        """Nothing to let go of."""


class Kept:
    """A sink that keeps pulse ids."""

    def __init__(self):
        self.pulses = []

    def write(self, events):
        self.pulses += [one.pulse_id for one in events]

    def close(self):
        """Nothing to finish."""


def selected(request, batches, idle_s=0.05, ends=False):
    source = Selected(Batches(batches, ends), request, idle_s=idle_s, late_s=0.01)
    sink = Kept()
    pump(source, [sink], lambda: False)
    return sink.pulses, source.reason


def batches_of(pulses, sizes):
    events = [event(pulse_id) for pulse_id in pulses]
    while events:
        n = next(sizes, 1)
        yield events[:n]
        events = events[n:]


@given(
    st.sets(st.integers(0, 60)),
    st.integers(0, 50),
    st.integers(0, 30),
    st.lists(st.integers(1, 9), max_size=60),
)
def test_a_range_gets_its_members_and_ends(sent, first, length, sizes):
    last = first + length
    newer = [last + 70, last + 71]
    pulses = sorted(sent) + newer
    got, reason = selected(Request(pulses=f"{first}..{last}"), batches_of(pulses, iter(sizes)))
    assert got == [p for p in pulses if first <= p <= last]
    assert reason == "last pulse"


def test_a_range_ends_with_its_last_pulse_at_once():
    got, reason = selected(Request(pulses="3..5"), [[event(p)] for p in (2, 3, 4, 5)])
    assert (got, reason) == ([3, 4, 5], "last pulse")


def test_a_range_with_a_step():
    got, _ = selected(Request(pulses="4..12/4"), [[event(p) for p in range(20)]])
    assert got == [4, 8, 12]


def test_a_lost_last_pulse_does_not_keep_it_open():
    got, reason = selected(Request(pulses="3..5"), [[event(3), event(4)], [event(6)]])
    assert (got, reason) == ([3, 4], "last pulse")


@given(st.integers(1, 30), st.lists(st.integers(1, 9), max_size=60))
def test_a_number_is_exact(n, sizes):
    got, reason = selected(Request(images=n), batches_of(range(100), iter(sizes)))
    assert (got, reason) == (list(range(n)), "count reached")


def test_silence_ends_a_recording():
    got, reason = selected(Request(images=5), [[event(1)]])
    assert got == [1]
    assert reason == "nothing came for 0.05 s"


def test_the_end_of_the_source_ends_it():
    assert selected(Request(), [[event(1)]], ends=True) == ([1], "the source ended")


def test_a_time_takes_what_arrived_in_it():
    source = Selected(Batches([]), Request(seconds=60), idle_s=60, late_s=1)
    start = source._first_ns
    source._source.batches = [[event(1, start - 1), event(2, start), event(3, start + 59 * 10**9)]]
    assert [one.pulse_id for one in source.read(0)] == [2, 3]
    source._source.batches = [[event(4, start + 60 * 10**9), event(5, start)]]
    assert list(source.read(0)) == []
    assert source.read(0) is None
    assert source.reason == "time over"


def test_a_stop_leaves_no_reason():
    source = Selected(Batches([]), Request(), idle_s=60, late_s=1)
    pump(source, [], lambda: True)
    assert source.reason == ""
