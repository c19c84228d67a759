"""The builder's rules, one by one, and the faults of older systems that must not come back."""

import numpy as np
import pytest

from forebay.assemble.builder import Builder
from forebay.ring.slots import BUILD_COUNTERS, FRAME

pytestmark = pytest.mark.unit

MS = 1_000_000
DEADLINE = 500 * MS
N_PACKETS = 128


def builder(n_modules=2, *, patience=4, pulse_step=1, max_jump=10_000, after=None):
    return Builder(
        n_modules,
        N_PACKETS,
        patience=patience,
        deadline_ns=DEADLINE,
        pulse_step=pulse_step,
        max_jump=max_jump,
        after=after,
    )


def frames(*pulses_and_modules, epoch=0, missing=0, time_ns=0):
    """Frames of (pulse, module); the owner word tells pulse and module."""
    made = np.zeros(len(pulses_and_modules), FRAME)
    for frame, (pulse_id, module) in zip(made, pulses_and_modules, strict=True):
        frame["pulse_id"], frame["module"] = pulse_id, module
        frame["owner"] = owner_of(pulse_id, module)
        frame["slot"] = pulse_id % 256
        frame["missing_packets"], frame["time_ns"], frame["epoch"] = missing, time_ns, epoch
    return made


def owner_of(pulse_id, module):
    return 2 * (1000 * pulse_id + module + 1)


def pulses(built):
    return [event.pulse_id for event in built]


def whole(first, last, n_modules=2, **fields):
    return frames(*[(p, m) for p in range(first, last + 1) for m in range(n_modules)], **fields)


def check_account(b):
    c = b.counters
    assert tuple(c) == BUILD_COUNTERS
    assert c["frames"] == c["used"] + c["late"] + c["duplicate"] + c["implausible"]
    return c


def running(n_modules=2, last=100, **options):
    """A builder that has released pulse `last` at time 0."""
    b = builder(n_modules, **options)
    b.add(whole(last, last, n_modules), -2 * DEADLINE)
    assert pulses(b.tick(-DEADLINE)) == [last]
    b.add(whole(last + 1, last + 1, n_modules), 0)
    return b, last + 1


def test_complete_and_next_in_line_goes_at_once():
    b, last = running()
    assert b.add(frames((last + 1, 0)), MS) == []
    (event,) = b.add(frames((last + 1, 1), missing=3, time_ns=7), 2 * MS)
    assert event.pulse_id == last + 1
    assert event.slot == (last + 1) % 256
    assert event.owner.tolist() == [owner_of(last + 1, 0), owner_of(last + 1, 1)]
    assert event.missing_packets.tolist() == [0, 3]
    assert event.owner.dtype == np.uint64
    assert event.missing_packets.dtype == np.uint32
    assert event.time_ns == 0


def test_time_is_that_of_the_earliest_frame():
    b, last = running()
    b.add(frames((last + 1, 0), time_ns=90), MS)
    (event,) = b.add(frames((last + 1, 1), time_ns=70), MS)
    assert event.time_ns == 70


def test_complete_but_not_next_in_line_waits_for_the_one_before():
    b, last = running()
    assert b.add(whole(last + 2, last + 2), MS) == []
    assert pulses(b.add(whole(last + 1, last + 1), 2 * MS)) == [last + 1, last + 2]


def test_next_in_line_is_one_pulse_step_on():
    b = builder(pulse_step=10)
    b.add(whole(100, 100), 0)
    b.tick(DEADLINE)
    assert b.add(whole(120, 120), DEADLINE) == []
    assert pulses(b.add(whole(110, 110), DEADLINE)) == [110, 120]


def test_patience_gives_up_the_oldest():
    b, last = running(patience=4)
    b.add(frames((last + 1, 0)), MS)
    assert b.add(whole(last + 2, last + 5), MS) == []
    built = b.add(frames((last + 6, 0)), MS)
    assert pulses(built) == [last + 1, last + 2, last + 3, last + 4, last + 5]
    assert built[0].owner.tolist() == [owner_of(last + 1, 0), 0]
    assert built[0].missing_packets.tolist() == [0, N_PACKETS]
    assert b.counters["incomplete_events"] == 1
    assert b.counters["missing_frames"] == 1


def test_patience_does_not_wait_for_modules_that_differ_by_a_delay():
    b, last = running(3, patience=4)
    b.add(frames((last + 1, 0)), MS)
    b.add(whole(last + 2, last + 4, 3), MS)
    assert b.add(frames((last + 6, 2)), 2 * MS) == []
    built = b.add(frames((last + 5, 0), (last + 5, 1)), 3 * MS)
    assert pulses(built) == [last + 1, last + 2, last + 3, last + 4]


def test_one_lost_frame_delays_no_pulse_by_more_than_the_deadline():
    b, last = running(patience=1000)
    period = 10 * MS
    released = {}
    lost = last + 3
    for i in range(1, 200):
        pulse_id = last + i
        batch = whole(pulse_id, pulse_id)
        for event in b.add(batch[:1] if pulse_id == lost else batch, i * period):
            released[event.pulse_id] = i * period
    assert [p for p, ns in released.items() if ns - (p - last) * period > DEADLINE] == []
    assert released[lost] == 3 * period + DEADLINE
    assert list(released) == list(range(last + 1, last + 200))


def test_deadline_counts_from_the_first_frame():
    b, last = running()
    b.add(frames((last + 1, 0)), 10)
    b.add(frames((last + 2, 0)), 20)
    assert b.tick(9 + DEADLINE) == []
    assert pulses(b.tick(10 + DEADLINE)) == [last + 1]
    assert pulses(b.tick(20 + DEADLINE)) == [last + 2]


def test_older_pulses_go_before_an_overdue_one():
    b, last = running()
    b.add(frames((last + 2, 0)), 10)
    b.add(frames((last + 1, 0)), 20)
    assert pulses(b.tick(10 + DEADLINE)) == [last + 1, last + 2]


def test_first_pulses_that_overtook_each_other_are_not_lost():
    b = builder()
    assert b.add(whole(7, 7), 0) == []
    assert b.add(whole(6, 6), MS) == []
    assert b.add(whole(5, 5), MS) == []
    assert pulses(b.tick(DEADLINE)) == [5, 6, 7]


def test_lone_first_pulse_waits_for_the_deadline_only():
    b = builder()
    assert b.add(whole(7, 7), 0) == []
    assert pulses(b.tick(DEADLINE)) == [7]


def test_late_frame_is_counted_and_never_an_event():
    b, last = running()
    assert b.add(frames((last, 0)), MS) == []
    assert check_account(b)["late"] == 1
    assert b.drain() == []


def test_first_of_two_frames_stays():
    b, last = running()
    b.add(frames((last + 1, 0), missing=1), MS)
    b.add(frames((last + 1, 0), missing=9), MS)
    (event,) = b.drain()
    assert event.missing_packets[0] == 1
    assert check_account(b)["duplicate"] == 1


def test_plausible_ends_at_max_jump():
    b, last = running(max_jump=50)
    b.add(frames((last + 51, 0)), MS)
    assert check_account(b)["implausible"] == 1
    b.add(frames((last + 50, 0)), MS)
    assert check_account(b)["implausible"] == 1
    assert pulses(b.drain()) == [last + 50]


def test_frames_that_cannot_be_are_counted():
    b, last = running()
    impossible = frames((last + 1, 2), (last + 1, 0))
    impossible["owner"][1] = 0
    b.add(impossible, MS)
    assert check_account(b)["implausible"] == 2


def test_batch_of_one_module_does_not_give_up_the_others():
    b, last = running(patience=4)
    batch = frames(*[(last + i, m) for m in range(2) for i in range(1, 60)])
    built = b.add(batch, MS)
    assert pulses(built) == list(range(last + 1, last + 60))
    assert b.counters["incomplete_events"] == 0


def test_drain_gives_everything_in_order():
    b, last = running()
    b.add(frames((last + 3, 0), (last + 2, 1)), MS)
    assert pulses(b.drain()) == [last + 2, last + 3]
    c = check_account(b)
    assert c["events"] * 2 == c["used"] + c["missing_frames"]
    assert b.drain() == []


def test_a_builder_that_goes_on_behind_another_releases_nothing_twice():
    b = builder(after=100)
    assert b.add(frames((99, 0), (100, 1)), 0) == []  # left over from what was released as partial
    assert pulses(b.add(whole(101, 102), MS)) == [101, 102]
    c = check_account(b)
    assert (c["late"], c["followed"]) == (2, 0)


# Restarts and jumps


@pytest.mark.parametrize("epoch", [0, 1])
def test_restart_after_a_pause_loses_nothing(epoch):
    b, _ = running()
    built = b.add(whole(1, 1, epoch=epoch), DEADLINE)
    for i in range(2, 6):
        built += b.add(whole(i, i, epoch=epoch), DEADLINE + i * MS)
    built += b.tick(2 * DEADLINE)
    assert pulses(built) == [1, 2, 3, 4, 5]
    c = check_account(b)
    assert c["followed"] == 1
    assert c["late"] == c["incomplete_events"] == 0


@pytest.mark.parametrize("epoch", [0, 1])
def test_restart_after_a_pause_and_few_pulses(epoch):
    b = builder()
    built = b.add(whole(1, 3), 0) + b.add(whole(1, 4, epoch=epoch), 2 * DEADLINE) + b.drain()
    assert pulses(built) == [1, 2, 3, 1, 2, 3, 4]
    assert check_account(b)["incomplete_events"] == 0


def test_restart_without_pause_is_followed_after_two_frames_a_module():
    b, _ = running()
    built = []
    for i in range(1, 10):
        built += b.add(whole(i, i), i * MS)
    built += b.drain()
    assert pulses(built) == list(range(3, 10))
    c = check_account(b)
    assert c["late"] == 4
    assert c["followed"] == 1
    assert c["incomplete_events"] == 0


def test_restart_that_every_receiver_saw_is_followed_at_once():
    b, _ = running()
    built = b.add(whole(1, 4, epoch=1), MS) + b.drain()
    assert pulses(built) == [1, 2, 3, 4]
    assert check_account(b)["late"] == 1  # the vote needs the second module


def test_restart_releases_what_is_open_first():
    b, last = running()
    b.add(frames((last + 2, 0)), MS)
    built = b.add(whole(1, 3, epoch=1), 2 * MS)
    assert pulses(built) == [last + 2]


def test_restart_of_one_module():
    b = builder(1)
    built = b.add(whole(1000, 1010, 1), 0) + b.add(whole(1, 10, 1), MS) + b.drain()
    assert pulses(built) == [*range(1000, 1011), *range(3, 11)]
    assert check_account(b)["late"] == 2


def test_jump_beyond_max_jump_is_followed():
    b, last = running(max_jump=100)
    far = last + 5000
    built = b.add(whole(far, far + 9), MS) + b.drain()
    assert pulses(built) == list(range(far + 2, far + 10))
    assert check_account(b)["implausible"] == 4
    b.add(whole(far * 3, far * 3), MS + DEADLINE)
    assert pulses(b.drain()) == [far * 3]
    assert check_account(b)["followed"] == 2


def test_jump_within_max_jump_loses_nothing():
    b, last = running()
    built = b.add(whole(last + 500, last + 509), MS) + b.drain()
    assert pulses(built) == list(range(last + 500, last + 510))
    assert check_account(b)["followed"] == 0


def test_slow_detector_is_no_restart():
    b = builder()
    built = []
    for i in range(1, 6):
        built += b.add(whole(i, i), i * 10 * DEADLINE)
        built += b.tick(i * 10 * DEADLINE + DEADLINE)
    assert pulses(built) == [1, 2, 3, 4, 5]
    assert b.counters["followed"] == 0


def test_straggler_after_a_pause_is_late_and_not_a_restart():
    """A receiver closes an incomplete frame when the next packets come, a pause later."""
    b, last = running()
    b.add(frames((last + 1, 0)), MS)
    assert pulses(b.tick(2 * DEADLINE)) == [last + 1]
    built = b.add(frames((last + 1, 1), (last + 2, 1), (last + 2, 0)), 9 * DEADLINE)
    assert pulses(built) == [last + 2]
    c = check_account(b)
    assert c["late"] == 1
    assert c["followed"] == 0


def test_a_module_that_is_heard_first_after_a_pause_does_not_begin_a_new_run():
    """Otherwise a starved machine would deliver the first pulses twice: its packets had come in time."""
    b = builder()
    built = b.add(frames((1, 0), (2, 0), time_ns=5), 0) + b.tick(DEADLINE)
    built += b.add(frames((1, 1), (2, 1), time_ns=6), 3 * DEADLINE)
    built += b.add(whole(3, 4, time_ns=3 * DEADLINE), 3 * DEADLINE + MS) + b.drain()
    assert pulses(built) == [1, 2, 3, 4]
    c = check_account(b)
    assert (c["late"], c["followed"]) == (2, 0)


def test_a_module_that_was_lost_in_a_run_of_one_pulse_may_begin_the_next_one():
    b = builder()
    built = b.add(frames((1, 0), time_ns=5), 0)
    built += b.add(frames((1, 1), (1, 0), time_ns=3 * DEADLINE), 3 * DEADLINE) + b.drain()
    assert pulses(built) == [1, 1]
    assert built[1].owner.all()
    assert check_account(b)["followed"] == 1


def test_straggler_of_the_old_run_does_not_end_the_new_one():
    b, last = running(last=1000)
    built = b.add(frames((1, 0), epoch=1), DEADLINE)
    built += b.add(frames((last + 1, 1)), DEADLINE)
    for i in range(1, 100):
        batch = whole(i, i, epoch=1)
        built += b.add(batch[1:] if i == 1 else batch, DEADLINE + i * 10 * MS)
    assert pulses(built) == list(range(1, 100))
    c = check_account(b)
    assert c["incomplete_events"] == 0
    assert c["implausible"] == 1
    assert c["followed"] == 1


def test_old_pulse_is_not_delivered_twice_after_a_jump():
    b, last = running(max_jump=100)
    b.add(whole(last + 9000, last + 9000), DEADLINE)
    built = b.add(frames((last, 1)), DEADLINE + 1) + b.drain()
    assert pulses(built) == [last + 9000]
    assert check_account(b)["late"] == 1


def test_scattered_noise_is_not_followed():
    b = builder(1)
    b.add(whole(100, 100, 1), 0)
    for i in range(1, 20):
        b.add(frames((10**6 * i**2, 0)), i * MS)
    c = check_account(b)
    assert c["implausible"] == 19
    assert c["followed"] == 0


def test_modules_that_do_not_agree_are_not_followed():
    b, last = running(3)
    for i in range(1, 20):
        b.add(frames((10**9 + i, 0), (10**12 + i, 1), (last + i, 2)), i * MS)
    assert check_account(b)["followed"] == 0


def test_silent_module_has_no_vote():
    b, last = running(2)
    for i in range(1, 300):
        b.add(frames((last + i, 0)), i * 10 * MS)
    for i in range(1, 10):
        b.add(frames((i, 0)), 3000 * MS + i * MS)
    assert check_account(b)["followed"] == 1


# Modules out of step


@pytest.mark.parametrize("n_modules", [2, 3, 8])
@pytest.mark.parametrize("lead", [-3000, -40, 40, 3000, 30_000])
@pytest.mark.parametrize("first", [False, True])
def test_module_out_of_step_neither_stalls_nor_kills_the_others(n_modules, lead, first):
    b, last = running(n_modules, last=100_000)
    bad = 0 if first else n_modules - 1
    others = [m for m in range(n_modules) if m != bad]
    released = {}
    for i in range(1, 300):
        batch = frames(*[(last + i + (lead if m == bad else 0), m) for m in range(n_modules)])
        for event in b.add(batch, i * 10 * MS):
            released[event.pulse_id] = (event, i)
        check_account(b)
    # A lead of 40 pulses is made up within the deadline: those events are even complete.
    for i in range(1, 300 - DEADLINE // (10 * MS)):
        event, i_released = released[last + i]
        assert all(event.owner[m] for m in others)
        assert (i_released - i) * 10 * MS <= DEADLINE
    assert [p for p in released if not last < p < last + 300] == []
    assert b.counters["followed"] == 0


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("lead", [3, 500])
def test_module_ahead_at_a_rate_below_the_deadline_costs_few_pulses(lead, first):
    n_modules = 4
    b, last = running(n_modules)
    released = []
    for i in range(1, 100):
        batch = [(last + i, m) for m in range(3)]
        ahead = (last + i + lead, 3)
        now = i * 2 * DEADLINE
        for j, frame in enumerate([ahead, *batch] if first else [*batch, ahead]):
            released += b.add(frames(frame), now + j)
        released += b.tick(now + DEADLINE + n_modules)
    good = [event.pulse_id - last for event in released if event.owner[:3].all()]
    assert good[-90:] == list(range(10, 100))
    check_account(b)


def test_module_that_restarts_before_the_others():
    b, last = running(3)
    built = []
    for i in range(1, 20):
        built += b.add(frames((i, 0), (last + i, 1), (last + i, 2)), i * 10 * MS)
    for i in range(20, 60):
        built += b.add(whole(i, i, 3), i * 10 * MS)
    built += b.drain()
    got = pulses(built)
    assert got[:19] == list(range(last + 1, last + 20))
    assert got[19:] == list(range(got[19], 60))
    assert got[19] <= 22
    assert check_account(b)["followed"] == 1


def test_module_that_restarts_after_the_others_may_lead_again():
    b, last = running(3)
    for i in range(1, 6):
        b.add(frames((i, 0), (i, 1), (last + i, 2)), i * MS)
    built = b.add(whole(6, 20, 3), 10 * MS)
    built += b.add(frames((60, 2), (60, 0), (60, 1)), 11 * MS) + b.drain()
    assert [event.pulse_id for event in built if event.owner.all()][-3:] == [19, 20, 60]
    assert check_account(b)["followed"] == 1


def test_module_that_was_lost_in_a_restart_has_no_vote():
    b, _ = running(3)
    built = []
    for i in range(1, 100):
        built += b.add(frames((i, 1), (i + 40, 0)), DEADLINE + i * 20 * MS)
    good = [event.pulse_id for event in built if event.owner[1]]
    assert good == list(range(1, good[-1] + 1))
    assert good[-1] >= 60


def test_stray_does_not_widen_what_is_plausible():
    b, last = running(3, max_jump=100)
    b.add(frames((last + 90, 2)), 5 * MS)
    for i in range(1, 61):
        b.add(frames((last + i, 0), (last + i, 1)), i * 10 * MS)
    assert check_account(b)["implausible"] == 1
    b.add(frames((last + 161, 2)), 601 * MS)
    assert check_account(b)["implausible"] == 2
    b.add(frames((last + 160, 2)), 601 * MS)
    assert check_account(b)["implausible"] == 2


def test_one_module_that_stays_behind_does_not_keep_the_others_from_a_restart():
    b, last = running(4)
    built = []
    for i in range(1, 50):
        built += b.add(frames(*[(i, m) for m in range(3)], (last + i, 3)), i * 10 * MS)
    built += b.tick(DEADLINE + 490 * MS)
    new = [event for event in built if event.pulse_id < last and event.owner[:3].all()]
    assert pulses(new) == list(range(new[0].pulse_id, 50))
    assert new[0].pulse_id <= 5


def test_dead_module_costs_patience_only():
    b, last = running(3, patience=4)
    built = []
    for i in range(1, 50):
        built += b.add(frames((last + i, 0), (last + i, 1)), i * MS)
        assert len(built) == max(0, i - 5)
    assert all(event.missing_packets.tolist() == [0, 0, N_PACKETS] for event in built)


# Faults of the predecessor


def test_loss_of_any_module_marks_the_event():
    """There, only the loss of the module that came first was looked at."""
    for hurt in range(3):
        b, last = running(3)
        batch = whole(last + 1, last + 1, 3)
        batch["missing_packets"][hurt] = 1
        (event,) = b.add(batch, MS)
        assert event.missing_packets.tolist() == [int(m == hurt) for m in range(3)]
        assert b.counters["incomplete_events"] == 1


def test_repeated_and_late_frames_make_no_ghosts():
    """There, a repeated frame erased the image and a late one opened it again."""
    b, last = running()
    built = []
    for i in range(1, 50):
        built += b.add(whole(last + i, last + i), i * MS)
        built += b.add(frames((last + i, i % 2), (last + max(1, i - 7), 1)), i * MS)
    assert pulses(built) == list(range(last + 1, last + 50))
    c = check_account(b)
    assert c["incomplete_events"] == 0
    assert c["late"] == 98


@pytest.mark.parametrize("pause", [MS, DEADLINE])
def test_leftovers_of_high_ids_do_not_stop_a_restarted_detector(pause):
    """There, 51 incomplete leftovers and a restart with modules two frames apart gave 0 of 998 images."""
    b = builder(patience=50)
    b.add(frames(*[(100_000 + i, 0) for i in range(51)]), 0)
    built = []
    for i in range(1, 1001):
        late = [(i - 2, 1)] if i > 2 else []
        built += b.add(frames((i, 0), *late), pause + i * MS)
    built += b.drain()
    complete = [event.pulse_id for event in built if event.owner.all()]
    assert complete == list(range(1, 999))
    c = check_account(b)
    assert c["events"] * 2 == c["used"] + c["missing_frames"]
