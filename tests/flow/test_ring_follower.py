"""Following a ring over the restarts of those who fill it: what was lost in one life stays counted."""

import numpy as np
import pytest

from forebay.event import Event
from forebay.ring.shared import RingShape, SharedRing
from forebay.service.follow import RingFollower
from forebay.wire.eiger import eiger

pytestmark = pytest.mark.flow

LAYOUT = eiger(8)
SHAPE = RingShape(n_slots=4, n_modules=1)  # the log remembers 16


@pytest.fixture
def runtime(tmp_path_factory):
    path = tmp_path_factory.mktemp("r")
    path.chmod(0o700)
    return path


def events(first, n):
    data = np.zeros(LAYOUT.frame_shape, LAYOUT.pixel)
    none_missing = np.zeros(1, np.uint32)
    return [Event("E1", p, 1000 * p, {"data": data}, none_missing) for p in range(first, first + n)]


def pulses(follower, n_reads=50):
    return [event.pulse_id for _ in range(n_reads) for event in follower.read(0)]


def test_what_was_lost_in_one_ring_stays_counted_in_the_next(runtime):
    ring = SharedRing.create("E1", LAYOUT, SHAPE, runtime)
    follower = RingFollower("E1", runtime, "oldest")
    ring.write(events(0, 40))
    assert pulses(follower) == list(range(24, 40))
    assert follower.n_lost == 24
    ring.finish()
    assert pulses(follower) == []
    ring.close()
    assert pulses(follower) == []  # nobody is there
    ring = SharedRing.create("E1", LAYOUT, SHAPE, runtime)
    ring.write(events(100, 20))
    assert pulses(follower) == list(range(104, 120))
    assert follower.n_lost == 24 + 4
    assert follower.n_behind == 0
    follower.close()
    ring.close()


def test_a_ring_that_ended_and_goes_on_is_read_on(runtime):
    """Only the builder was restarted."""
    ring = SharedRing.create("E1", LAYOUT, SHAPE, runtime)
    follower = RingFollower("E1", runtime)
    ring.write(events(0, 3))
    ring.finish()
    assert pulses(follower) == [0, 1, 2]
    ring.finish(finished=False)
    ring.write(events(3, 2))
    assert pulses(follower) == [3, 4]
    assert follower.n_lost == 0
    follower.close()
    ring.close()


def test_what_is_skipped_is_not_lost_and_what_was_lost_is_not_forgotten(runtime):
    ring = SharedRing.create("E1", LAYOUT, SHAPE, runtime)
    follower = RingFollower("E1", runtime, "oldest")
    ring.write(events(0, 20))
    assert len(follower.read(0)) == 16
    ring.write(events(20, 30))
    follower.skip()
    ring.write(events(50, 2))
    assert pulses(follower) == [50, 51]
    assert follower.n_lost == 4
    follower.close()
    ring.close()
