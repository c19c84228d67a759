"""Readouts by the nearest time tag: what belongs together, when it is released, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.camera import ALL, SECOND, T0, Bench, truths

pytestmark = pytest.mark.unit

MS = 1_000_000
STEP = 30 * MS


def cycle(bench, first, n=10, modules=ALL, step=STEP, wait_s=0.3, t0=T0):
    """Send one datagram of `n` readouts from each module."""
    i = np.arange(first, first + n)
    bench.add(np.repeat(modules, n), np.tile(t0 + i * step, len(modules)), np.tile(i, len(modules)), wait_s)


def test_a_complete_readout_is_released_at_once():
    bench = Bench()
    bench.add(ALL[:31], T0, 0)
    bench.add(ALL[:31], T0 + STEP, 1)
    assert bench.out == []
    bench.add(31, T0, 0)
    assert bench.sets == [([0], 32)]
    assert bench.out[0]["number"] == 1
    assert bench.out[0]["time_ns"] == T0
    assert bench.counters == {"blocks": 63, "used": 63, "readouts": 1}


def test_the_first_readout_waits_for_the_second_but_not_for_long():
    bench = Bench()
    bench.add(ALL, T0, 0)
    bench.tick(0.029)
    assert bench.out == []
    bench.tick(0.001)
    assert bench.sets == [([0], 32)]
    bench.add(ALL, T0 + SECOND, 1, 0.97)
    assert bench.sets == [([i], 32) for i in range(2)]


@pytest.mark.parametrize("lost", [[5], [5, 6], [0], [31]])
def test_blocks_that_are_lost_of_the_first_readout_are_not_taken_from_the_second(lost):
    """The window is wider than the distance of readouts, and nobody knows that yet."""
    bench = Bench()
    order = [*lost, *np.delete(ALL, lost)]
    bench.add(np.delete(ALL, lost), T0, 0)
    for n in range(1, 40):
        for module in order:
            bench.add(module, T0 + n * MS, n)
    bench.drain()
    assert bench.sets == [([0], 32 - len(lost)), *(([n], 32) for n in range(1, 40))]


def test_a_lost_block_is_not_replaced_by_the_next_one_that_comes_early():
    """Closer than readouts usually are, but nearer to its own."""
    bench = Bench()
    for n in range(60):
        for module in [7, *np.delete(ALL, 7)]:
            if (n, module) != (40, 7):
                bench.add(module, T0 + n * MS - (150_000 if module == 7 else 0), n)
    bench.drain()
    assert bench.sets == [([n], 31 if n == 40 else 32) for n in range(60)]


@pytest.mark.parametrize(("slow", "fast"), [(100 * MS, MS), (12 * MS, MS), (MS, 100 * MS)])
def test_another_rate_costs_nothing(slow, fast):
    bench = Bench()
    time_ns, n = T0, 0
    for period, n_readouts in ((slow, 50), (fast, 50), (slow, 50)):
        for _ in range(n_readouts):
            for module in np.roll(ALL, n):
                bench.add(module, time_ns + 7 * module, n)
            time_ns, n = time_ns + period, n + 1
            bench.tick(period / SECOND)
    bench.drain()
    assert bench.sets == [([i], 32) for i in range(n)]
    assert bench.counters["used"] == 32 * n


def test_the_first_block_gives_the_time_tag():
    bench = Bench()
    bench.add([3, 2], [T0 + 5, T0], 0)
    bench.add(np.delete(ALL, [2, 3]), T0 + 9, 0)
    bench.drain()
    assert bench.out[0]["time_ns"] == T0 + 5
    assert bench.out[0]["timestamps"][2].tolist() == [T0, T0 + 5]


def test_no_first_and_no_last_readout_is_lost():
    bench = Bench()
    for first in range(0, 50, 10):
        cycle(bench, first)
    bench.add(ALL[:5], T0 + 50 * STEP, 50)
    bench.drain()
    assert bench.sets == [([i], 32) for i in range(50)] + [([50], 5)]
    assert [int(one["number"]) for one in bench.out] == list(range(1, 52))


def test_a_missing_module_is_waited_for_once_and_then_no_more():
    bench = Bench()
    alive = ALL[:31]
    for first in range(0, 200, 10):
        cycle(bench, first, modules=alive)
    assert bench.sets == [([i], 31) for i in range(200)]
    assert bench.counters["missing_blocks"] == 200
    assert bench.builder.n_open == 0  # nobody expects it any more


def test_a_module_that_comes_back_is_expected_again():
    bench = Bench()
    for first in range(0, 200, 10):
        cycle(bench, first, modules=ALL[:31])
    cycle(bench, 200)  # its first datagram comes with the others: one is late at most
    cycle(bench, 210)
    assert bench.sets[-10:] == [([i], 32) for i in range(210, 220)]


def test_a_lost_datagram_holds_nothing_up_for_long():
    bench = Bench()
    for first in range(0, 300, 10):
        cycle(bench, first, modules=np.delete(ALL, 7) if first == 100 else ALL, wait_s=0.01, step=MS)
        if first == 190:
            assert len(bench.out) == 100
    assert bench.sets == [([i], 31 if 100 <= i < 110 else 32) for i in range(300)]
    assert bench.now_ns < 6 * SECOND


def test_patience_can_be_longer():
    bench = Bench(patience=10**6)
    for first in range(0, 300, 10):
        cycle(bench, first, modules=np.delete(ALL, 7) if first == 100 else ALL, wait_s=0.01, step=MS)
    assert len(bench.out) == 100
    bench.tick(4)
    assert len(bench.out) == 300


def test_expected_modules_can_be_named():
    bench = Bench(expected=(3, 4))
    bench.add([3, 4], T0, 0)
    bench.tick(0.1)
    assert bench.sets == [([0], 2)]
    bench.add(5, T0, 0)
    assert bench.counters["late"] == 1


def test_the_deadline_is_on_our_clock():
    bench = Bench()
    bench.add(ALL[:7], T0, 0)
    bench.tick(3.9)
    assert bench.out == []
    bench.tick(0.2)
    assert bench.sets == [([0], 7)]
    assert bench.counters["incomplete_readouts"] == 1


def test_a_late_block_is_merged_while_its_readout_waits():
    bench = Bench()
    cycle(bench, 0, modules=ALL[1:])
    cycle(bench, 10, modules=ALL[1:])
    assert bench.out == []
    cycle(bench, 10, modules=ALL[:1])
    cycle(bench, 0, modules=ALL[:1])
    assert bench.sets == [([i], 32) for i in range(20)]


def test_a_block_of_a_readout_that_is_gone_is_late():
    bench = Bench()
    for first in range(0, 40, 10):
        cycle(bench, first, modules=ALL[1:], wait_s=1.5)
    bench.tick(4)
    n = len(bench.out)
    cycle(bench, 30, modules=ALL[:1], wait_s=0)  # equal to, and before, the last one released
    assert len(bench.out) == n == 40
    assert bench.counters["late"] == 10


@pytest.mark.parametrize("offset", [-2 * MS, -1, 0, 1, 2 * MS])
def test_a_late_block_opens_nothing_beside_what_is_gone(offset):
    bench = Bench()
    bench.add(ALL[1:], T0, 0)
    bench.tick(4)
    bench.add(0, T0 + offset, 0)
    bench.drain()
    assert bench.sets == [([0], 31)]
    assert bench.counters["late"] == 1


def test_a_block_between_two_open_readouts_opens_its_own():
    bench = Bench()
    bench.add(ALL[:3], T0, 0)
    bench.add(ALL[:3], T0 + 2 * STEP, 2)
    bench.add(ALL[:3], T0 + STEP, 1)
    bench.drain()
    assert bench.sets == [([i], 3) for i in range(3)]


def test_a_block_before_the_oldest_open_one_opens_its_own():
    bench = Bench()
    bench.add(ALL[:3], T0 + STEP, 1)
    bench.add(ALL[:3], T0, 0)
    bench.drain()
    assert bench.sets == [([0], 3), ([1], 3)]


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_duplicate_is_counted_and_the_first_one_stays(is_gone):
    bench = Bench()
    bench.add(ALL if is_gone else ALL[:9], T0, 0)
    bench.add(ALL[:4], T0, 99)
    bench.drain()
    assert bench.sets == [([0], 32 if is_gone else 9)]
    assert bench.counters["duplicate"] == 4


def test_a_duplicate_in_one_batch():
    bench = Bench()
    bench.add([1, 2, 1, 2, 3], T0, [0, 0, 9, 9, 0])
    bench.drain()
    assert bench.sets == [([0], 3)]
    assert bench.counters["duplicate"] == 2


def test_one_module_never_has_two_blocks_in_a_readout():
    bench = Bench(expected=(0,))
    bench.add([0, 0, 0], T0 + np.arange(3) * MS, [0, 1, 2])
    bench.drain()
    assert bench.sets == [([i], 1) for i in range(3)]


def test_one_time_tag_far_in_the_future_disturbs_nobody():
    bench = Bench()
    cycle(bench, 0)
    bench.add(5, T0 + 10**16, 77)
    cycle(bench, 10)
    bench.drain()
    assert bench.sets == [([i], 32) for i in range(20)]
    assert bench.counters["implausible"] == 1


def test_a_module_that_runs_ahead_disturbs_nobody():
    bench = Bench()
    for first in range(0, 200, 10):
        cycle(bench, first, modules=ALL[1:])
        cycle(bench, first, modules=ALL[:1], wait_s=0, t0=T0 + 30 * SECOND)
    bench.drain()
    whole = [one for one in bench.sets if one[1] == 31]
    assert whole == [([i], 31) for i in range(200)]
    assert bench.counters["implausible"] > 50


@pytest.mark.parametrize("tag", [0, 2**63, 2**64 - 1])
def test_time_tags_that_cannot_be(tag):
    bench = Bench()
    bench.add([1, 2], np.array([tag, T0], np.uint64), 0)
    assert bench.counters == {"blocks": 2, "used": 1, "implausible": 1}


@pytest.mark.parametrize("leap_s", [-1, -20, -10_000, -(10**9), 30, 10_000, 10**8])
@pytest.mark.parametrize("pause_s", [0.3, 10.0])
def test_a_clock_that_is_set_anew_costs_nothing(leap_s, pause_s):
    bench = Bench()
    for first in range(0, 100, 10):
        cycle(bench, first)
    for first in range(100, 200, 10):
        cycle(bench, first, t0=T0 + leap_s * SECOND, wait_s=pause_s if first == 100 else 0.3)
    bench.drain()
    assert bench.sets == [([i], 32) for i in range(200)]
    assert bench.counters["used"] == 200 * 32


@pytest.mark.parametrize("pause_s", [1, 3.9, 10, 10_000])
def test_a_pause_costs_nothing(pause_s):
    bench = Bench()
    for first in (0, 10):
        cycle(bench, first)
    cycle(bench, 20, t0=T0 + int(pause_s * SECOND), wait_s=pause_s)
    assert bench.sets == [([i], 32) for i in range(30)]


def test_after_a_pause_the_modules_of_before_are_expected():
    bench = Bench()
    for first in range(0, 200, 10):
        cycle(bench, first, modules=ALL[:31])
    bench.tick(100)
    n = len(bench.out)
    i = np.arange(10)
    for module in ALL[:31]:
        bench.add(module, T0 + 200 * SECOND + i * STEP, 200 + i)
    assert bench.sets[n:] == [([200 + k], 31) for k in range(10)]


def test_too_many_open_readouts_are_given_up_and_counted_but_not_lost():
    bench = Bench(buffer_length=50, expected=tuple(range(32)))
    for first in range(0, 300, 10):
        cycle(bench, first, modules=ALL[:31], wait_s=0.01)
    assert bench.builder.n_open == 50
    bench.drain()
    assert bench.sets == [([i], 31) for i in range(300)]
    assert bench.counters["evicted"] == 250


def test_a_batch_of_nothing_but_new_readouts_is_bounded():
    bench = Bench(buffer_length=10, expected=(0, 1))
    n = 5000
    bench.add(0, T0 + np.arange(n) * MS, np.arange(n))
    bench.drain()
    assert bench.sets == [([i], 1) for i in range(n)]


def test_a_datagram_may_span_more_than_the_longest_wait():
    bench = Bench()
    for first in range(0, 50, 10):
        cycle(bench, first, step=SECOND, wait_s=10)
    assert bench.sets == [([i], 32) for i in range(50)]


def test_modules_may_pack_differently():
    bench = Bench()
    for first in range(0, 60, 20):
        for n, modules in ((20, ALL[:3]), (5, ALL[3:30]), (1, ALL[30:])):
            for start in range(first, first + 20, n):
                cycle(bench, start, n, modules, wait_s=0.01)
    bench.drain()
    assert bench.sets == [([i], 32) for i in range(60)]


def test_the_count_begins_anew():
    bench = Bench()
    cycle(bench, 0)
    bench.builder.reset_count()
    cycle(bench, 10)
    assert [int(one["number"]) for one in bench.out] == [*range(1, 11), *range(1, 11)]


def test_readouts_are_the_receivers_own():
    bench = Bench()
    bench.add(ALL, T0, 0)
    bench.tick(0.1)
    first = bench.out[0].copy()
    for i in range(1, 5):
        bench.add(ALL, T0 + i * STEP, i)
    assert bench.out[0] == first


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([10, 33, 100, 101, 144, 300, 600, 1000]),
    packed=st.sampled_from([1, 2, 10]),
    seed=st.integers(0, 10**6),
    loss=st.sampled_from([0, 0, 0.02]),
    window_ns=st.sampled_from([10 * MS, 100_000]),
)
def test_no_block_is_given_to_another_readout(rate, packed, seed, loss, window_ns):
    """Any rate, jitter up to a third of the window (or of half a period), any order of the modules."""
    random = np.random.default_rng(seed)
    period = SECOND // rate
    jitter = min(window_ns, period // 2) // 3
    n, bench = 40, Bench(window_ns=window_ns)
    sent = np.zeros((n, 32), bool)
    for first in range(0, n, packed):
        i = np.arange(first, first + packed)
        modules = random.permutation(ALL)
        modules = modules[random.random(32) >= loss]
        times = T0 + i * period + random.integers(-jitter, jitter + 1, (len(modules), packed))
        numbers = np.broadcast_to(i, times.shape)
        sent[np.ix_(i, modules)] = True
        order = np.arange(times.size)
        cuts = np.sort(random.integers(0, times.size + 1, 2))
        bench.now_ns += period * packed
        for part in np.split(order, cuts):
            bench.add(np.repeat(modules, packed)[part], times.ravel()[part], numbers.ravel()[part])
    bench.drain()
    got = np.zeros_like(sent)
    for readout in bench.out:
        found = set(truths(readout).tolist())
        assert len(found) == 1
        got[found.pop()] |= readout["timestamps"][:, 0] > 0
    assert (got == sent).all()
    assert len(bench.out) == sent.any(axis=1).sum()
    assert (np.diff([int(one["time_ns"]) for one in bench.out]) > 0).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 2**64 - 1)), max_size=60), st.integers(0, 9))
def test_whatever_comes_is_accounted_for(blocks, wait_s):
    bench = Bench(buffer_length=8)
    for module, tag in blocks:
        bench.add(module, np.array([tag], np.uint64), 0, wait_s)
    bench.drain()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 31), st.integers(-50, 50)), max_size=200), st.integers(1, 5))
def test_whatever_comes_close_together_is_accounted_for(blocks, size):
    bench = Bench(buffer_length=8, window_ns=3)
    for start in range(0, len(blocks), size):
        part = np.array(blocks[start : start + size])
        bench.add(part[:, 0], T0 + part[:, 1], 0, 0.5)
    bench.drain()
    counters = bench.builder.counters
    assert counters["readouts"] == len(bench.out)


def test_a_pause_between_pairs_of_readouts_does_not_widen_the_window():
    """Half of the distances are the pause then: readouts closer than the window still stay apart."""
    bench = Bench(window_ns=10 * MS)
    times = []
    for i in range(120):
        pause = SECOND if i == 100 else 0
        begin = times[-1] + 5 * MS + pause if times else T0
        times += [begin, begin + 5 * MS]
        pair = np.array([2 * i, 2 * i + 1])
        bench.add(np.repeat(ALL, 2), np.tile(times[-2:], len(ALL)), np.tile(pair, len(ALL)), 0.01)
    bench.drain()
    assert bench.sets == [([i], 32) for i in range(240)]
