"""A pulse range out of rings and a live stream: every pulse once, whatever moves meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import NotYetError, OverwrittenError, RangeError
from forebay.event import Event
from forebay.ports import Source
from forebay.pulse import PulseRange
from forebay.retrieve import Asked, Merged, Retrieval, Stream
from forebay.retrieve.asked import Got, missing_pulses
from forebay.ring.memory import MemoryRing

pytestmark = pytest.mark.unit


def event(pulse_id: int, time_ns: int | None = None, source: str = "s", mark: int = 0) -> Event:
    time_ns = 10**9 * (pulse_id + 1) if time_ns is None else time_ns
    return Event(source, pulse_id, time_ns, {"data": np.array([mark])}, np.zeros(0, np.uint32))


def ring(pulses: Iterable[int], mark: int = 0, max_events: int = 10_000) -> MemoryRing:
    made = MemoryRing(max_events, 10**9)
    made.write([event(p, mark=mark) for p in pulses])
    return made


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A live source: each read gives the next batch; a number moves the clock."""

    def __init__(self, *batches: Sequence[int] | float | None, clock: Clock | None = None) -> None:
        self.batches = list(batches)
        self.clock = clock
        self.closed = False

    def read(self, timeout: float) -> Sequence[Event] | None:
        batch = self.batches.pop(0) if self.batches else 1.0
        if batch is None:
            return None
        if isinstance(batch, float):
            assert self.clock is not None, "the script is over"
            self.clock.now += batch
            return ()
        return [one if isinstance(one, Event) else event(one, mark=9) for one in batch]

    def close(self) -> None:
        self.closed = True


def drained(source: Source, most: int = 10_000) -> list[Event]:
    found: list[Event] = []
    for _ in range(most):
        events = source.read(0.1)
        if events is None:
            return found
        found += events
    raise AssertionError("the source does not end")


def ids(events: Iterable[Event]) -> list[int]:
    return [e.pulse_id for e in events]


def marks(events: Iterable[Event]) -> list[int]:
    return [int(e.arrays["data"][0]) for e in events]


def test_the_freshest_copy_wins_and_the_disk_fills_up() -> None:
    memory, disk = ring(range(50, 100), mark=1), ring(range(10, 95), mark=2)
    source = Retrieval(Stream("s", (memory, disk)), PulseRange(0, 99))
    found = drained(source)
    assert ids(found) == list(range(10, 100))
    assert marks(found) == [2] * 40 + [1] * 50
    report = source.report
    assert (report.expected, report.got, report.missing) == (100, 90, 10)
    assert report.missing_pulses == (PulseRange(0, 9),)
    assert (report.from_past, report.from_live) == (90, 0)
    assert report.span == PulseRange(10, 99)
    assert report.reason == "last pulse"


@pytest.mark.parametrize("n_holes", [1, 5, 20])
def test_holes_in_memory_are_filled_from_disk(n_holes: int) -> None:
    holes = set(range(110, 110 + 3 * n_holes, 3))
    memory = ring([p for p in range(100, 300) if p not in holes], mark=1)
    disk = ring(range(280), mark=2)
    found = drained(Retrieval(Stream("s", (memory, disk)), PulseRange(50, 299)))
    assert ids(found) == list(range(50, 300))
    assert {p for p, m in zip(ids(found), marks(found), strict=True) if m == 2} == set(range(50, 100)) | holes


def test_three_rings() -> None:
    pasts = (ring([8, 9, 11], 1), ring([4, 5, 7, 9, 10], 2), ring(range(1, 9), 3))
    found = drained(Retrieval(Stream("s", pasts), PulseRange(0, 12)))
    assert ids(found) == list(range(1, 12))
    assert marks(found) == [3, 3, 3, 2, 2, 3, 2, 1, 1, 2, 1]


def test_live_goes_on_where_the_rings_end() -> None:
    memory = ring(range(20))
    live = Script([18, 19, 20], (), [21, 22], [23, 24, 25])
    source = Retrieval(Stream("s", (memory,), lambda: live), PulseRange(5, 24))
    assert ids(drained(source)) == list(range(5, 25))
    assert live.closed
    assert (source.report.from_past, source.report.from_live, source.reason) == (15, 5, "last pulse")


def test_what_came_until_live_was_open_comes_in_order() -> None:
    memory = ring(range(10))

    def live() -> Source:
        memory.write([event(p) for p in range(10, 15)])
        return Script([15, 16])

    source = Retrieval(Stream("s", (memory,), live), PulseRange(5, 16))
    assert ids(drained(source)) == list(range(5, 17))
    assert source.report.from_live == 2


def test_the_live_stream_is_not_opened_for_the_past() -> None:
    def refuse() -> Source:
        raise AssertionError

    assert ids(drained(Retrieval(Stream("s", (ring(range(9)),), refuse), PulseRange(2, 8)))) == [*range(2, 9)]


def test_wholly_in_the_future() -> None:
    source = Retrieval(
        Stream("s", (ring(range(5)),), lambda: Script([5, 6], [7, 8, 9, 10])), PulseRange(7, 9)
    )
    assert ids(drained(source)) == [7, 8, 9]


def test_without_rings() -> None:
    assert ids(drained(Retrieval(Stream("s", (), lambda: Script([4], [5, 6, 8])), PulseRange(5, 7)))) == [
        5,
        6,
    ]


def test_deadline_idle_and_end_of_the_source() -> None:
    for kind, options in (("deadline", {"deadline_s": 3.0}), ("nothing came for 3 s", {"idle_s": 3.0})):
        clock = Clock()
        stream = Stream("s", (ring([1]),), partial(Script, [2], clock=clock))
        source = Retrieval(stream, PulseRange(1, 9), clock=clock, **options)
        assert ids(drained(source)) == [1, 2]
        assert source.reason == kind
        assert 103 <= clock.now <= 105
    source = Retrieval(Stream("s", (ring([1]),), lambda: Script([2], None)), PulseRange(1, 9))
    assert ids(drained(source)) == [1, 2]
    assert source.report.missing_pulses == (PulseRange(3, 9),)
    assert source.reason == "the source ended"


def test_late_pulses_are_waited_for() -> None:
    clock = Clock()
    late = event(8, 10**9 * 9, mark=9)
    live = partial(Script, [7, 9, 10], 0.1, [late], 5.0, clock=clock)
    source = Retrieval(Stream("s", (ring([6]),), live), PulseRange(6, 9), settle_s=1, clock=clock)
    assert ids(drained(source)) == [6, 7, 9, 8]
    source = Retrieval(Stream("s", (ring([6]),), live), PulseRange(6, 9), settle_s=0, clock=clock)
    assert ids(drained(source)) == [6, 7, 9]


def test_what_live_lost_is_taken_from_the_rings_at_the_end() -> None:
    memory = ring(range(5))

    class Lossy(Script):
        def read(self, timeout: float) -> Sequence[Event] | None:
            memory.write([event(p) for p in range(5, 12)])
            return super().read(timeout)

    source = Retrieval(Stream("s", (memory,), lambda: Lossy([5, 6, 10, 11])), PulseRange(0, 10))
    assert ids(drained(source)) == [0, 1, 2, 3, 4, 5, 6, 10, 7, 8, 9]
    assert source.report.missing == 0


def test_selected_pulses_and_a_rate_step() -> None:
    memory, disk = ring(range(80, 101)), ring(range(90))
    stream = Stream("s", (memory, disk), lambda: Script([101, 102, 103, 104], [105, 120]))
    assert ids(drained(Retrieval(stream, PulseRange(55, 104, 10)))) == [60, 70, 80, 90, 100]
    asked = [102, 3, 99, 3, 5, 105, 4000]
    source = Retrieval(stream, asked[:-1])
    assert ids(drained(source)) == [3, 5, 99, 102, 105]
    assert source.report.expected == 5
    source = Retrieval(Stream("s", (memory, disk)), asked)
    assert ids(drained(source)) == [3, 5, 99]
    assert source.report.missing_pulses == (
        PulseRange(102, 102),
        PulseRange(105, 105),
        PulseRange(4000, 4000),
    )
    assert source.reason == "nothing newer is there"


def test_what_has_expired_says_what_is_there() -> None:
    stream = Stream("cam", (ring(range(80, 100)), ring(range(50, 90))))
    with pytest.raises(
        OverwrittenError, match=r"Pulses 10\.\.49 of cam have expired: the rings hold 50\.\.99"
    ):
        Retrieval(stream, PulseRange(10, 49))
    with pytest.raises(NotYetError, match=r"100\.\.120 of cam have not come yet: the rings hold 50\.\.99"):
        Retrieval(stream, PulseRange(100, 120))
    with pytest.raises(NotYetError, match="empty"):
        Retrieval(Stream("cam", (ring([]),)), PulseRange(100, 120))
    with pytest.raises(RangeError, match="No pulse"):
        Retrieval(stream, [])
    with pytest.raises(RangeError, match="-3"):
        Retrieval(stream, [-3, 5])


def test_stopped() -> None:
    live = Script()
    source = Retrieval(Stream("s", (ring([1]),), lambda: live), PulseRange(1, 9), clock=Clock())
    source.read(0)
    live.batches = [()]
    source.read(0)
    source.close()
    source.close()
    assert live.closed
    assert source.read(0) is None
    assert source.report.reason == "stopped"


# --- the counter restarts


def test_a_ring_that_has_not_heard_of_the_restart_is_left_out() -> None:
    memory = MemoryRing(100, 10**9)
    disk = ring(range(500), mark=2)
    memory.write([event(p, 10**12 + p, mark=1) for p in range(5)])
    stream = Stream("s", (memory, disk), lambda: Script([5, 6, 7, 8, 9, 10]))
    found = drained(Retrieval(stream, PulseRange(2, 10)))
    assert ids(found) == list(range(2, 11))
    assert 2 not in marks(found)


def test_a_restart_ends_the_retrieval() -> None:
    memory = ring(range(100))
    again = [event(p, 10**15 + p) for p in (97, 98, 103)]
    stream = Stream("s", (memory,), lambda: Script([100, 101], again))
    source = Retrieval(stream, PulseRange(90, 110))
    assert ids(drained(source)) == list(range(90, 102))
    assert source.reason == "the pulse counter restarted"


def test_a_restart_while_the_rings_are_read() -> None:
    memory = ring(range(1000))
    source = Retrieval(Stream("s", (memory,), lambda: memory.reader("newest")), PulseRange(100, 2000))
    first = source.read(0)
    assert first is not None
    memory.write([event(p, 10**15 + p, mark=7) for p in range(600)])
    found = [*first, *drained(source)]
    assert 7 not in marks(found)
    assert ids(found) == list(range(100, 100 + len(found)))
    assert source.reason == "the pulse counter restarted"


def test_an_empty_memory_that_fills_after_a_restart() -> None:
    memory, disk = MemoryRing(10, 10**9), ring(range(100))
    source = Retrieval(Stream("s", (memory, disk), lambda: memory.reader("newest")), PulseRange(20, 200))
    memory.write([event(p, 10**15 + p, mark=7) for p in range(30, 40)])
    found = drained(source)
    assert 7 not in marks(found)
    assert source.reason == "the pulse counter restarted"


def test_a_source_without_times() -> None:
    memory = MemoryRing(20, 10**9)
    memory.write([event(p, 0) for p in range(30)])
    stream = Stream("s", (memory,), lambda: Script([event(p, 0) for p in (29, 30, 31)], [event(32, 0)]))
    assert ids(drained(Retrieval(stream, PulseRange(15, 32)))) == list(range(15, 33))


# --- everything moves


class World:
    """A beam whose events go into a short memory, a little later to disk, and on to live readers.

    Whoever looks at a ring lets some time pass.
    """

    def __init__(self, steps: list[int], rows: list[list[int]], n_memory: int, lag: int) -> None:
        self.memory = MemoryRing(n_memory, 10**9)
        self.disk = MemoryRing(100_000, 10**9)
        self.lag = lag
        self.steps = steps
        self.to_come = [event(p) for p in rows[0]]
        self.restart = [event(p, 10**15 + i, mark=7) for i, p in enumerate(rows[1])]
        self.n_seen = 0
        self.emitted: list[Event] = []

    def emit(self, n: int) -> None:
        for _ in range(n):
            source = self.to_come or self.restart
            if not source:
                return
            one = source.pop(0)
            self.emitted.append(one)
            self.memory.write([one])
            if len(self.emitted) > self.lag:
                self.disk.write([self.emitted[-1 - self.lag]])

    def look(self) -> None:
        self.n_seen += 1
        if self.steps:
            self.emit(self.steps[self.n_seen % len(self.steps)])

    def past(self, ring: MemoryRing) -> Moving:
        return Moving(self, ring)

    def live(self) -> Source:
        self.look()
        reader = self.memory.reader("newest")
        self.look()
        return MovingLive(self, reader)


class Moving:
    def __init__(self, world: World, ring: MemoryRing) -> None:
        self.world, self.ring = world, ring

    @property
    def span(self) -> PulseRange | None:
        self.world.look()
        return self.ring.span

    @property
    def epoch(self) -> int:
        self.world.look()
        return self.ring.epoch

    def read(self, pulses: PulseRange) -> Iterable[Event]:
        self.world.look()
        for one in self.ring.read(pulses):
            self.world.look()
            yield one


class MovingLive:
    def __init__(self, world: World, reader: Source) -> None:
        self.world, self.reader = world, reader

    def read(self, timeout: float) -> Sequence[Event] | None:
        self.world.look()
        if not self.world.to_come and not self.world.restart:
            events = self.reader.read(0)
            return events or None
        self.world.emit(1)
        return self.reader.read(0)

    def close(self) -> None:
        self.reader.close()


@st.composite
def beams(draw: st.DrawFn) -> list[int]:
    """Return pulse ids in the order in which they come: some never, some late."""
    n = draw(st.integers(1, 120))
    pulses = [p for p in range(1000, 1000 + n) if draw(st.integers(0, 9))]
    for _ in range(draw(st.integers(0, 3))):
        if len(pulses) > 4:
            i = draw(st.integers(0, len(pulses) - 4))
            pulses.insert(i + draw(st.integers(1, 3)), pulses.pop(i))
    return pulses or [1000]


@settings(max_examples=300, deadline=None)
@given(
    beam=beams(),
    n_before=st.integers(0, 130),
    n_memory=st.integers(6, 30),
    lag=st.integers(0, 2),
    steps=st.lists(st.integers(0, 2), max_size=9),
    first=st.integers(990, 1120),
    length=st.integers(0, 130),
    step=st.sampled_from([1, 1, 1, 2, 7]),
)
def test_every_pulse_once(
    beam: list[int],
    n_before: int,
    n_memory: int,
    lag: int,
    steps: list[int],
    first: int,
    length: int,
    step: int,
) -> None:
    world = World(steps, [beam, []], n_memory, lag)
    world.emit(n_before)
    asked = PulseRange(first // step * step, first // step * step + length, step)
    stream = Stream("s", (world.past(world.memory), world.past(world.disk)), world.live)
    try:
        source = Retrieval(stream, asked)
    except OverwrittenError:
        assert asked.last < 1000 + 2 or asked.last < min(ids(world.emitted))
        return
    found = drained(source)
    assert len(found) == len(set(ids(found)))
    came = {p for p in ids(world.emitted) if p in asked}
    if source.reason == "last pulse":  # what comes late, after the last one, is not waited for
        last = next((i for i, e in enumerate(world.emitted) if e.pulse_id >= asked.last), len(world.emitted))
        due = {p for p in ids(world.emitted[: last + 1]) if p in asked}
    else:
        due = came
    assert due <= set(ids(found)) <= came
    assert source.report.got == len(found)
    listed = {p for stretch in source.report.missing_pulses for p in stretch}
    assert listed == set(asked) - set(ids(found))
    if sorted(beam) == beam and source.report.from_live == 0:
        assert ids(found) == sorted(ids(found))


@settings(max_examples=300, deadline=None)
@given(
    n_old=st.integers(1, 60),
    n_before=st.integers(0, 90),
    restart=st.integers(950, 1059),
    n_memory=st.integers(6, 30),
    lag=st.integers(0, 2),
    steps=st.lists(st.integers(0, 2), max_size=9),
    first=st.integers(950, 1070),
    length=st.integers(0, 100),
)
def test_a_retrieval_never_mixes_epochs(
    n_old: int,
    n_before: int,
    restart: int,
    n_memory: int,
    lag: int,
    steps: list[int],
    first: int,
    length: int,
) -> None:
    old = list(range(1000, 1000 + n_old))
    world = World(steps, [old, list(range(min(restart, old[-1] - 1), restart + 60))], n_memory, lag)
    world.emit(n_before)
    stream = Stream("s", (world.past(world.memory), world.past(world.disk)), world.live)
    try:
        source = Retrieval(stream, PulseRange(first, first + length))
    except OverwrittenError:
        return
    found = drained(source)
    assert len(set(marks(found))) <= 1
    assert len(found) == len(set(ids(found)))


# --- the parts


@given(st.lists(st.integers(0, 40)), st.integers(0, 41))
def test_got(indices: list[int], n: int) -> None:
    got, plain = Got(), set[int]()
    for i in indices:
        assert got.add(i) == (i not in plain)
        plain.add(i)
    assert got.n == len(plain)
    assert [i for i in range(45) if i in got] == sorted(plain)
    assert [i for a, b in got.gaps(n) for i in range(a, b + 1)] == [i for i in range(n) if i not in plain]


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 9), st.sets(st.integers(0, 260), max_size=30))
def test_asked_counts_its_pulses(first: int, length: int, step: int, ids_: set[int]) -> None:
    for asked, plain in (
        (
            Asked(PulseRange(first * step, first * step + length, step)),
            list(range(first * step, first * step + length + 1, step)),
        ),
        (Asked(sorted(ids_ or {3}, reverse=True)), sorted(ids_ or {3})),
    ):
        assert (asked.n, asked.first, asked.last) == (len(plain), plain[0], plain[-1])
        for p in range(260):
            assert asked.index(p) == (plain.index(p) if p in plain else None)
            assert asked.index_from(p) == sum(one < p for one in plain)
        assert [p for r in asked.pulses(0, asked.n - 1) for p in r] == plain
        assert set(plain) <= {p for r in asked.hulls(0, asked.n - 1) for p in r}
        assert [p for r in missing_pulses(asked, Got()) for p in r] == plain


def test_a_huge_range_costs_nothing() -> None:
    source = Retrieval(Stream("s", (ring([5, 10**15]),)), PulseRange(0, 10**18))
    assert ids(drained(source)) == [5, 10**15]
    assert source.report.missing == 10**18 - 1


# --- several streams


def test_merged_in_pulse_order() -> None:
    a = Retrieval(Stream("a", (ring(range(0, 300, 2)),)), PulseRange(0, 299))
    b = Retrieval(Stream("b", (ring(range(0, 300, 3)),)), PulseRange(0, 299))
    merged = Merged([a, b])
    assert ids(drained(merged)) == sorted([*range(0, 300, 2), *range(0, 300, 3)])
    assert (a.report.got, b.report.got) == (150, 100)
    merged.close()


def test_a_silent_stream_does_not_hold_up_the_others_for_ever() -> None:
    clock = Clock()
    silent, going = Script([1], clock=clock), Script([1, 2, 3], (), [4], clock=clock)
    merged = Merged([silent, going], patience_s=1.5, clock=clock)
    assert ids([e for _ in range(8) for e in merged.read(0.1) or ()]) == [1, 1, 2, 3, 4]


def test_a_stream_that_is_not_asked_loses_no_patience() -> None:
    clock = Clock()
    slow = Script([1], [2], 5.0, [3], None, clock=clock)
    fast = Script([1, 2, 3], [4], None, clock=clock)
    merged = Merged([slow, fast], patience_s=10, clock=clock)
    assert ids(drained(merged)) == [1, 1, 2, 2, 3, 3, 4]
