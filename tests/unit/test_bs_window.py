"""The stretch of a stream that an acquisition wants, with an end that becomes known late."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import RangeError
from forebay.event import Event
from forebay.service.bsread_window import HOLD_EVENTS, LATE_S, SETTLE_S, Window

pytestmark = pytest.mark.unit

EPOCH = 10**18


def event(pulse_id):
    return Event("s", pulse_id, EPOCH + pulse_id * 10**7, {}, np.zeros(0, np.uint32))


class Script:
    """A source that gives what it is told."""

    def __init__(self):
        self.next = []
        self.is_over = False

    def read(self, timeout):
        given, self.next = self.next, []
        return None if self.is_over and not given else [event(p) for p in given]

    def close(self):
        pass


class Stage:
    def __init__(self, **options):
        self.now = 100.0
        self.source = Script()
        self.window = Window(self.source, idle_s=10, clock=lambda: self.now, **options)
        self.got = []

    def come(self, *pulses, wait=0.0):
        self.now += wait
        self.source.next = list(pulses)
        events = self.window.read(0)
        self.got += [one.pulse_id for one in events or ()]
        return self

    def end(self):
        """Let time go by until the window ends; return what was passed on."""
        for _ in range(300):
            if self.window.reason:
                assert self.window.read(0) is None
                return self.got
            self.come(wait=0.05)
        raise AssertionError("no end")


def test_both_ends_are_included_and_the_stream_may_end_exactly_there():
    stage = Stage(first_pulse=10)
    stage.window.set_last_pulse(15)
    stage.come(*range(5, 16))
    assert stage.end() == list(range(10, 16))
    assert stage.window.reason == "last pulse"
    assert stage.window.counters["early"] == 5
    assert stage.now < 100 + 2 * SETTLE_S + 0.1


def test_it_ends_when_the_last_pulse_itself_never_comes():
    stage = Stage(first_pulse=10)
    stage.window.set_last_pulse(15)
    stage.come(10, 11, 14, 16)
    assert stage.end() == [10, 11, 14]
    assert stage.window.reason == "last pulse"


def test_a_stop_before_what_has_come_trims():
    stage = Stage(first_pulse=0)
    for p in range(60):
        stage.come(p, wait=0.01)
    stage.window.set_last_pulse(42)
    assert stage.end() == list(range(43))
    assert stage.window.counters["trimmed"] == 17
    assert stage.window.last_pulse_id == 42


def test_after_a_stop_long_after_nothing_more_is_passed_on():
    stage = Stage()
    for p in range(HOLD_EVENTS + 200):
        stage.come(p, wait=0.01)
    n_before = len(stage.got)
    stage.window.set_last_pulse(50)
    assert stage.window.last_pulse_id == 50
    stage.come(HOLD_EVENTS + 200)
    assert len(stage.end()) == n_before
    assert stage.window.reason == "last pulse"
    assert stage.window.last_pulse_id == 50


def test_without_a_last_pulse_few_are_held_back():
    stage = Stage()
    for p in range(1000):
        stage.come(p, wait=0.01)
    assert len(stage.got) >= 1000 - HOLD_EVENTS - 1


def test_reversed_pulses_are_put_in_order_also_around_the_last_one():
    stage = Stage(first_pulse=0)
    stage.window.set_last_pulse(5)
    stage.come(0, 2, 1, 5, 3).come(4, wait=SETTLE_S / 2).come(6)
    assert stage.end() == [0, 1, 2, 3, 4, 5]


def test_a_silent_stream_ends_at_the_deadline():
    stage = Stage(first_pulse=0)
    stage.come(0, 1, 2)
    stage.come(wait=100)
    assert not stage.window.reason
    stage.window.set_last_pulse(9)
    assert stage.end() == [0, 1, 2]
    assert stage.window.reason == "nothing came for 10 s"


def test_now_is_a_time_of_messages():
    stage = Stage(first_ns=EPOCH + 10 * 10**7)
    stage.come(*range(20))
    stage.window.stop_now(EPOCH + 15 * 10**7)
    stage.come(*range(20, 25))
    assert stage.end() == list(range(10, 16))


def test_stop_now_does_not_wait_for_a_clock_that_is_behind():
    stage = Stage()
    stage.come(1, 2)
    stage.window.stop_now(EPOCH * 2)
    assert stage.end() == [1, 2]
    assert stage.now <= 100 + LATE_S + 0.1


def test_finish_takes_what_is_on_its_way_and_abort_does_not():
    stage = Stage()
    stage.come(1, 2)
    stage.window.finish()
    stage.come(3)
    assert stage.end() == [1, 2, 3]
    stage = Stage()
    stage.come(1, 2)
    stage.window.abort("killed")
    stage.come(3)
    assert (stage.got, stage.window.reason) == ([1, 2], "killed")


def test_a_source_that_ends_ends_it():
    stage = Stage()
    stage.come(1)
    stage.source.is_over = True
    assert stage.end() == [1]


def test_a_reversed_range_is_refused():
    stage = Stage(first_pulse=10)
    with pytest.raises(RangeError, match=r"10\.\.9"):
        stage.window.set_last_pulse(9)


@settings(max_examples=150)
@given(
    first=st.integers(0, 30),
    n=st.integers(0, 30),
    stop_after=st.integers(0, 80),
    batches=st.lists(st.integers(1, 9), min_size=20, max_size=40),
)
def test_any_moment_of_the_stop_gives_the_same_pulses(first, n, stop_after, batches):
    stage = Stage(first_pulse=first)
    p = 0
    is_set = False
    for size in batches:
        if p >= stop_after and not is_set:
            stage.window.set_last_pulse(first + n)
            is_set = True
        stage.come(*range(p, p + size), wait=0.01)
        p += size
    if not is_set:
        stage.window.set_last_pulse(first + n)
    if p - 1 < first + n:
        stage.come(*range(p, first + n + 1))
    assert stage.end() == list(range(first, first + n + 1))
