"""Every situation in which SSDAQ 0.7 lost or mixed up data, a test each; docstrings say what SSDAQ did."""

import numpy as np
import pytest
from tests.camera import ALL, SECOND, T0, Bench

pytestmark = pytest.mark.unit

MS = 1_000_000
STEP = 30 * MS


def cycle(bench, first, n=10, modules=ALL, step=STEP, t0=T0, wait_s=None):
    """Send one datagram of `n` readouts from each module, in real time."""
    i = np.arange(first, first + n)
    wait_s = n * step / SECOND if wait_s is None else wait_s
    bench.add(np.repeat(modules, n), np.tile(t0 + i * step, len(modules)), np.tile(i, len(modules)), wait_s)


def whole(first, stop, n_modules=32):
    return [([i], n_modules) for i in range(first, stop)]


def test_module_missing():
    """Published with a row of NaN and times of 0."""
    bench = Bench()
    cycle(bench, 0, modules=ALL[:31])
    bench.drain()
    assert bench.sets == whole(0, 10, 31)
    for one in bench.out:
        assert np.isnan(one["data"][31]).all()
        assert one["timestamps"][31].tolist() == [0, 0]
    assert bench.counters["incomplete_readouts"] == bench.counters["missing_blocks"] == 10


def test_late_and_still_buffered():
    """Merged, or inserted in order."""
    bench = Bench()
    cycle(bench, 0, modules=ALL[1:])
    cycle(bench, 20, modules=ALL)
    cycle(bench, 10, modules=ALL)  # between what is open
    cycle(bench, 0, modules=ALL[:1], wait_s=0)
    assert bench.sets == whole(0, 30)
    assert [int(one["time_ns"]) for one in bench.out] == [T0 + i * STEP for i in range(30)]


@pytest.mark.parametrize("offset", [-MS, 0, MS])
def test_late_and_of_the_oldest_open_readout(offset):
    """Dropped: the oldest readout was never looked at."""
    bench = Bench()
    bench.add(ALL[1:], T0, 0)
    bench.add(ALL[1:], T0 + STEP, 1)
    bench.add(0, T0 + offset, 0)
    bench.add(0, T0 + STEP, 1)
    assert bench.sets == whole(0, 2)


def test_late_and_before_everything_that_is_open():
    """Became a readout of its own, out of order."""
    bench = Bench()
    bench.add(ALL[1:], T0 + STEP, 1)
    bench.add(ALL, T0, 0)
    bench.add(0, T0 + STEP, 1)
    assert bench.sets == whole(0, 2)
    assert [int(one["number"]) for one in bench.out] == [1, 2]


def test_late_and_of_a_published_readout():
    """Became an extra readout of one module, with a number of its own."""
    bench = Bench()
    for first in (0, 10):
        cycle(bench, first, modules=ALL[1:])
    bench.tick(4.1)
    cycle(bench, 0, modules=ALL[:1])
    bench.drain()
    assert bench.sets == whole(0, 20, 31)
    assert bench.counters["late"] == 10


@pytest.mark.parametrize("when", ["same batch", "still open", "published"])
def test_duplicate(when):
    """Overwrote the older one, opened an extra readout, or was dropped, by its position."""
    bench = Bench()
    if when == "same batch":
        bench.add([0, 0, *ALL[1:]], T0, [0, 99, *[0] * 31])
    else:
        bench.add(ALL if when == "published" else ALL[:31], T0, 0)
        bench.add(0, T0, 99)
        bench.add(ALL[31:], T0, 0)
    bench.drain()
    assert bench.sets == whole(0, 1)
    assert bench.counters["duplicate"] == (2 if when == "published" else 1)


@pytest.mark.parametrize("rate", [99, 101, 144, 260, 600, 1000])
@pytest.mark.parametrize("packed", [1, 10])
def test_readouts_closer_than_the_window(rate, packed):
    """From 100 Hz on, with the window of 10 ms that came with it, blocks went to wrong readouts."""
    bench = Bench()
    step = SECOND // rate
    random = np.random.default_rng(rate)
    n = 200
    for first in range(0, n, packed):
        i = np.arange(first, first + packed)
        jitter = random.integers(-step // 6, step // 6 + 1, (32, packed)) if first else 0
        for module in random.permutation(32):
            tags = T0 + i * step + (jitter[module] if first else 0)
            bench.add(module, tags, i, packed / rate / 32)
    bench.drain()
    assert bench.sets == whole(0, n)


def test_more_readouts_than_the_buffer_is_long():
    """From 250 Hz on, the oldest were thrown away without a word."""
    bench = Bench(expected=tuple(range(32)), patience=10**6)
    for first in range(0, 2500, 10):
        cycle(bench, first, modules=ALL[:31], step=SECOND // 260)
    assert bench.builder.n_open == 1000
    bench.drain()
    assert bench.sets == whole(0, 2500, 31)
    assert bench.counters["evicted"] == 1500


def test_late_while_the_buffer_is_full():
    """The assembler died of it, and its process lived on, mute."""
    bench = Bench(buffer_length=20, expected=tuple(range(32)), patience=10**6)
    cycle(bench, 10, n=20, modules=ALL[:31])
    bench.add(0, T0 + 5 * STEP + STEP // 2, 77)  # no readout is near, and there is no room
    bench.add(0, T0, 0)
    cycle(bench, 30, n=10, modules=ALL[:31])
    bench.drain()
    assert [one for one in bench.sets if one[1] == 31] == whole(10, 40, 31)


def test_one_time_tag_in_the_far_future():
    """Every following block became a readout of its own, until a restart."""
    bench = Bench()
    cycle(bench, 0)
    bench.add(3, T0 + 3600 * SECOND, 77)
    for first in (10, 20):
        cycle(bench, first)
    bench.drain()
    assert bench.sets == whole(0, 30)
    assert bench.counters["implausible"] == 1


def test_one_time_tag_a_little_ahead():
    """A step that is plausible for a clock: nothing else waits for it, and it comes to nothing."""
    bench = Bench()
    cycle(bench, 0)
    bench.add(3, T0 + 20 * SECOND, 77)
    for first in range(10, 300, 10):
        cycle(bench, first)
    bench.drain()
    assert [one for one in bench.sets if one[1] == 32] == whole(0, 300)


@pytest.mark.parametrize("back_s", [1, 100, 10**8])
def test_time_tags_start_again_from_lower_values(back_s):
    """Readouts of one module for ever."""
    bench = Bench()
    for first in (0, 10, 20):
        cycle(bench, first)
    for first in (30, 40, 50):
        cycle(bench, first, t0=T0 - back_s * SECOND)
    bench.drain()
    assert bench.sets == whole(0, 60)
    assert bench.counters["followed"] == 1


def test_a_camera_that_starts_again_from_zero():
    """As before: a restarted module counts from its start."""
    bench = Bench()
    cycle(bench, 0)
    for first in (10, 20, 30):
        cycle(bench, first, t0=STEP)
    bench.drain()
    assert bench.sets == whole(0, 40)


def test_a_datagram_spans_more_than_the_longest_wait():
    """Broke up into readouts of one module each."""
    bench = Bench(buffer_ns=SECOND)
    for first in (0, 10, 20):
        cycle(bench, first, step=300 * MS, wait_s=3.0)
    bench.drain()
    assert bench.sets == whole(0, 30)


@pytest.mark.parametrize("pause_s", [0, 3, 5, 600])
def test_the_first_readout_after_a_pause(pause_s):
    """Had one module after any pause longer than the buffer; at the very start one block was thrown away."""
    bench = Bench()
    cycle(bench, 0, n=1)
    bench.tick(pause_s)
    i = np.arange(1)
    for module in ALL:  # one datagram at a time
        bench.add(module, T0 + pause_s * SECOND + STEP, 1 + i)
    bench.tick(0.1)  # nobody knows yet how close readouts lie
    assert bench.sets == whole(0, 2)


@pytest.mark.parametrize("rate", [33, 101, 144, 1000])
@pytest.mark.parametrize("packed", [1, 2, 10])
def test_an_assembler_that_starts_in_the_middle_of_a_cycle(rate, packed):
    """Blocks of the second readout filled up what the first one lacked."""
    bench = Bench()
    for first in range(0, 100, packed):
        i = np.arange(first, first + packed)
        for module in ALL[5:] if first == 0 else ALL:
            bench.add(module, T0 + i * SECOND // rate, i, packed / rate / 32)
    bench.drain()
    assert bench.sets == whole(0, packed, 27) + whole(packed, 100)


def test_the_last_readouts_when_the_stream_stops():
    """The last seconds were never published."""
    bench = Bench()
    cycle(bench, 0)
    assert bench.sets == whole(0, 10)  # at once, and without a tick
    cycle(bench, 10, modules=ALL[:5])
    bench.tick(4.1)
    assert bench.sets == whole(0, 10) + whole(10, 20, 5)


def test_time_tags_of_a_module_that_differ_by_nothing():
    """Two blocks of one datagram with the same tag: 0.9 warned, and wrote one over the other."""
    bench = Bench()
    bench.add([0, 0], T0, [0, 99])
    bench.add(ALL[1:], T0, 0)
    bench.tick(0.1)
    assert bench.sets == whole(0, 1)
    assert bench.counters["duplicate"] == 1


def test_a_shorter_datagram_of_one_module():
    """0.9 died of it: readouts were counted by the first datagram that came."""
    bench = Bench()
    cycle(bench, 0, modules=ALL[:31])
    cycle(bench, 0, n=3, modules=ALL[31:], wait_s=0)
    bench.tick(4.1)
    assert bench.sets == whole(0, 3) + whole(3, 10, 31)


def test_late_datagrams_harm_nothing_in_the_successor_either():
    """0.9 died of the first datagram that came late."""
    bench = Bench(window_ns=51 * MS, buffer_ns=SECOND)
    cycle(bench, 10, modules=ALL)
    cycle(bench, 0, modules=ALL[:3], wait_s=0)
    cycle(bench, 20)
    bench.drain()
    assert [one for one in bench.sets if one[1] == 32] == whole(10, 30)


def test_numbers_while_nothing_is_lost_and_after_a_reset():
    """Numbers were neither unique nor in the order of time."""
    bench = Bench()
    cycle(bench, 10, modules=ALL[:31])
    cycle(bench, 0, modules=ALL)
    bench.tick(4.1)
    assert [int(one["number"]) for one in bench.out] == list(range(1, 21))
    times = [int(one["time_ns"]) for one in bench.out]
    assert times == sorted(times)
    bench.builder.reset_count()
    cycle(bench, 20)
    assert [int(one["number"]) for one in bench.out[20:]] == list(range(1, 11))
