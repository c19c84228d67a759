"""Bounds and edges, each of which a test must notice when it moves by one."""

import numpy as np
import pytest

from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.retrieve.asked import JOIN_PULSES, MAX_LISTED, Asked, Got, missing_pulses
from forebay.ring.memory import READ_EVENTS, MemoryRing
from forebay.run import states
from forebay.service.bsread_window import LATE_S, Window
from forebay.store.manifest import account

pytestmark = pytest.mark.unit


def test_selected_pulses_that_lie_just_close_enough_are_read_together():
    assert Asked([0, JOIN_PULSES]).hulls(0, 1) == [PulseRange(0, JOIN_PULSES)]
    assert len(Asked([0, JOIN_PULSES + 1]).hulls(0, 1)) == 2
    assert Asked([0, 1, 3]).pulses(0, 2) == [PulseRange(0, 1), PulseRange(3, 3)]


def test_a_report_lists_so_many_stretches_and_no_more():
    asked, got = Asked(PulseRange(0, 2 * MAX_LISTED + 1)), Got()
    for i in range(1, asked.n, 2):
        got.add(i)
    listed = missing_pulses(asked, got)
    assert len(listed) == MAX_LISTED < asked.n - got.n
    assert listed[-1] == PulseRange(2 * MAX_LISTED - 2, 2 * MAX_LISTED - 2)


def test_ranges_that_overlap_between_two_steps_share_no_pulse():
    assert PulseRange(0, 100, 10).overlap(PulseRange(11, 19)) is None
    assert PulseRange(0, 100, 10).overlap(PulseRange(11, 20)) == PulseRange(20, 20, 10)


def test_pulses_of_a_detector_with_a_step_are_listed_with_it():
    found = account(range(10, 41, 10), np.array([40]), overwritten=[10, 20], not_written=[20, 30])
    assert found.overwritten.ranges == ["10..20/10"]
    assert found.not_written.ranges == ["20..30/10"]


def test_one_read_gives_so_many_events_and_the_next_one_the_rest():
    ring = MemoryRing(2 * READ_EVENTS, 2**30)
    reader = ring.reader()
    ring.write([Event("s", p, p, {}, np.zeros(0, np.uint32)) for p in range(READ_EVENTS + 5)])
    assert [len(reader.read(0)) for _ in range(3)] == [READ_EVENTS, 5, 0]


def test_messages_of_before_a_stop_may_be_late():
    class Silent:
        def read(self, timeout):
            return ()

        def close(self):
            pass

    now = [100.0]
    window = Window(Silent(), idle_s=60.0, clock=lambda: now[0])
    window.stop_now(10**9)
    now[0] += LATE_S - 0.01
    assert window.read(0) == []
    assert window.reason == ""
    now[0] += 0.01
    assert window.read(0) == []
    assert window.reason == "stopped"


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        ("idle", {"prepare": "preparing"}),
        ("preparing", {"abort": "ending"}),
        ("ready", {"start": "starting", "stop": "ending", "abort": "ending"}),
        ("starting", {"abort": "ending"}),
        ("running", {"stop": "ending", "abort": "ending"}),
        ("ending", {}),
        ("failed", {"abort": "ending"}),
    ],
)
def test_what_is_allowed_in_each_state_of_a_run(state, commands):
    assert {one: states.next(state, one) for one in states.allowed(state)} == commands
