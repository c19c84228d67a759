"""The ring in memory: bounds, readers that do not disturb each other, and what a restart means."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import AbsentError, ConfigError, NotYetError, OverwrittenError, RingError
from forebay.event import Array, Event
from forebay.ports import Ring, Sink, Source
from forebay.pulse import PulseRange
from forebay.ring import memory
from forebay.ring.epoch import LATE_NS, EpochCounter
from forebay.ring.memory import MemoryReader, MemoryRing, nbytes

pytestmark = pytest.mark.unit

NONE_MISSING = np.zeros(0, np.uint32)


def event(pulse_id: int, n_bytes: int = 1, time_ns: int | None = None) -> Event:
    """Return an event whose time grows with the pulse id unless it is given."""
    return Event(
        "camera",
        pulse_id,
        pulse_id if time_ns is None else time_ns,
        {"x": np.full(n_bytes, pulse_id % 251, np.uint8)},
        NONE_MISSING,
    )


def ids(events: object) -> list[int]:
    assert isinstance(events, list | tuple)
    return [e.pulse_id for e in events]


def drain(reader: MemoryReader) -> list[int]:
    found: list[int] = []
    while events := reader.read(0):
        found += ids(events)
    return found


def test_is_a_ring_and_its_reader_a_source() -> None:
    ring: Ring = MemoryRing(1, 1)
    sink: Sink = ring
    source: Source = MemoryRing(1, 1).reader()
    sink.close()
    source.close()


def test_bounded_by_count() -> None:
    ring = MemoryRing(3, 100)
    ring.write([event(p) for p in range(10, 15)])
    assert len(ring) == 3
    assert ring.span == PulseRange(12, 14)
    assert (ring.written, ring.expired, ring.refused) == (5, 2, 0)


def test_bounded_by_bytes_of_changing_shapes() -> None:
    ring = MemoryRing(100, 1000)
    ring.write([event(1, 600), event(2, 300), event(3, 200)])
    assert ring.span == PulseRange(2, 3)
    assert ring.n_bytes == 500
    ring.write([event(4, 1000)])
    assert ring.span == PulseRange(4, 4)
    ring.write([event(5, 1001)])
    assert ring.span == PulseRange(4, 4)
    assert ring.refused == 1


def test_impossible_pulse_id_is_refused_and_counted() -> None:
    ring = MemoryRing(5, 100)
    ring.write([event(-1), event(2**63), event(3)])
    assert ring.span == PulseRange(3, 3)
    assert ring.refused == 2


class Lazy(Mapping[str, Array]):
    """A mapping that knows its size and fails the test when it is decoded."""

    nbytes = 400

    def __getitem__(self, name: str) -> Array:
        raise AssertionError(f"{name} was decoded")

    def __iter__(self) -> Iterator[str]:
        return iter(["x"])

    def __len__(self) -> int:
        return 1


def test_lazy_arrays_are_asked_for_their_size_and_not_decoded() -> None:
    lazy = Event("camera", 1, 1, Lazy(), NONE_MISSING)
    assert nbytes(lazy) == 400
    ring = MemoryRing(100, 1000)
    ring.write([lazy] * 3)
    assert ring.n_bytes == 800


@pytest.mark.parametrize("bounds", [(0, 10), (10, 0), (-1, 10)])
def test_bounds_that_hold_nothing(bounds: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        MemoryRing(*bounds)


def test_get_says_the_span() -> None:
    ring = MemoryRing(3, 100)
    with pytest.raises(NotYetError, match="empty"):
        ring.get(5)
    ring.write([event(p) for p in (10, 20, 30, 40)])
    assert ring.get(30).pulse_id == 30
    with pytest.raises(OverwrittenError, match=r"20\.\.40"):
        ring.get(10)
    with pytest.raises(AbsentError, match=r"20\.\.40"):
        ring.get(25)
    with pytest.raises(NotYetError, match=r"20\.\.40"):
        ring.get(41)


def test_range_is_sorted_and_keeps_to_the_step() -> None:
    ring = MemoryRing(10, 100)
    ring.write([event(p) for p in (2, 4, 5, 8, 6)])
    assert ids(ring.read(PulseRange(3, 100))) == [4, 5, 6, 8]
    assert ids(ring.read(PulseRange(3, 100, 4))) == [4, 8]


def test_readers_steal_nothing_from_each_other() -> None:
    ring = MemoryRing(100, 1000)
    first, second = ring.reader(), ring.reader()
    ring.write([event(p) for p in range(5)])
    assert drain(first) == [0, 1, 2, 3, 4]
    ring.write([event(5)])
    assert drain(second) == [0, 1, 2, 3, 4, 5]
    assert drain(first) == [5]
    assert first.lost == second.lost == 0


def test_slow_reader_counts_what_it_lost_and_fast_one_nothing() -> None:
    ring = MemoryRing(3, 1000)
    slow, fast = ring.reader(), ring.reader()
    seen: list[int] = []
    for p in range(10):
        ring.write([event(p)])
        seen += drain(fast)
    assert seen == list(range(10))
    assert fast.lost == 0
    assert drain(slow) == [7, 8, 9]
    assert slow.lost == 7
    assert slow.lost_pulses == (PulseRange(0, 6),)
    ring.write([event(p) for p in range(10, 15)])
    assert drain(slow) == [12, 13, 14]
    assert slow.lost_pulses == (PulseRange(0, 6), PulseRange(10, 11))


def test_stretches_of_loss_are_bounded_and_the_count_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_LOSSES", 4)
    ring = MemoryRing(1, 1000)
    reader = ring.reader()
    for p in range(0, 40, 2):
        ring.write([event(p), event(p + 1)])
        assert ids(reader.read(0)) == [p + 1]
    assert reader.lost == 20
    assert reader.lost_pulses == tuple(PulseRange(p, p) for p in (32, 34, 36, 38))


def test_where_a_reader_starts() -> None:
    ring = MemoryRing(3, 1000)
    assert ids(ring.reader("newest").read(0)) == []
    ring.write([event(p) for p in range(10, 15)])
    assert drain(ring.reader("oldest")) == [12, 13, 14]
    assert drain(ring.reader("newest")) == [14]
    assert drain(ring.reader(13)) == [13, 14]
    with pytest.raises(OverwrittenError, match=r"12\.\.14"):
        ring.reader(11)
    future = ring.reader(17)
    ring.write([event(p) for p in range(15, 19)])
    assert drain(future) == [17, 18]
    assert future.lost == 0


def test_lost_before_the_wanted_start_is_no_loss() -> None:
    ring = MemoryRing(2, 1000)
    ring.write([event(1)])
    reader = ring.reader(5)
    ring.write([event(p) for p in range(2, 9)])
    assert drain(reader) == [7, 8]
    assert reader.lost == 2
    assert reader.lost_pulses == (PulseRange(5, 6),)


def test_restarted_counter_begins_a_new_epoch_and_the_newest_wins() -> None:
    ring = MemoryRing(10, 1000)
    reader = ring.reader()
    ring.write([event(p, time_ns=p) for p in (100, 101, 102)])
    ring.write([event(p, 7, time_ns=1000 + p) for p in (1, 2)])
    assert ring.span == PulseRange(1, 2)
    with pytest.raises(NotYetError):
        ring.get(101)
    assert drain(reader) == [100, 101, 102, 1, 2]


def test_loss_across_a_restart_is_two_stretches() -> None:
    ring = MemoryRing(1, 1000)
    reader = ring.reader()
    ring.write([event(100), event(101), event(1, time_ns=500), event(2, time_ns=501), event(3, time_ns=502)])
    assert reader.lost_pulses == (PulseRange(100, 101), PulseRange(1, 2))


def test_late_event_stays_in_its_epoch() -> None:
    ring = MemoryRing(10, 1000)
    ring.write([event(p) for p in (10, 12, 11)])
    assert ring.span == PulseRange(10, 12)
    assert ring.get(11).pulse_id == 11


def test_repeated_pulse_the_newest_is_got_and_readers_see_both() -> None:
    ring = MemoryRing(2, 1000)
    reader = ring.reader()
    ring.write([event(10, 1), event(10, 2)])
    assert ring.get(10).arrays["x"].shape == (2,)
    assert drain(reader) == [10, 10]
    ring.write([event(11)])
    assert ring.get(10).arrays["x"].shape == (2,)


def test_epoch_rule() -> None:
    epochs = EpochCounter()
    assert epochs.place(50, LATE_NS * 2) == 0
    assert epochs.place(49, LATE_NS * 2 - 1) == 0  # late
    assert epochs.place(49, LATE_NS) == 0  # late, just
    assert epochs.place(50, LATE_NS * 3) == 0  # repeated
    assert epochs.place(49, LATE_NS * 3) == 1  # goes back while time does not
    assert epochs.place(48, LATE_NS * 2 - 1) == 2  # the clock was set back by more than a late event can be


def test_closed_ring_is_read_to_its_end_and_takes_nothing() -> None:
    ring = MemoryRing(5, 100)
    reader = ring.reader()
    ring.write([event(1)])
    ring.close()
    ring.close()
    assert ids(reader.read(0)) == [1]
    assert reader.read(0) is None
    with pytest.raises(RingError, match="closed"):
        ring.write([event(2)])


def test_closed_reader_reads_no_more() -> None:
    ring = MemoryRing(5, 100)
    reader = ring.reader()
    ring.write([event(1)])
    reader.close()
    reader.close()
    assert reader.read(0) is None
    assert drain(ring.reader()) == [1]


@pytest.mark.parametrize("wake", ["write", "close ring", "close reader"])
def test_waiting_reader_is_woken(wake: str) -> None:
    ring = MemoryRing(5, 100)
    reader = ring.reader()
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(reader.read(60)))
    thread.start()
    {"write": lambda: ring.write([event(1)]), "close ring": ring.close, "close reader": reader.close}[wake]()
    thread.join(30)
    assert not thread.is_alive()
    assert result[0] is None if wake != "write" else ids(result[0]) == [1]


def test_many_threads_read_every_event_once_or_count_it() -> None:
    ring = MemoryRing(50, 10**6)
    readers = [ring.reader() for _ in range(4)]
    found: list[list[int]] = [[] for _ in readers]

    def run(i: int) -> None:
        while (events := readers[i].read(10)) is not None:
            found[i] += ids(events)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for p in range(0, 3000, 3):
        ring.write([event(p), event(p + 1), event(p + 2)])
    ring.close()
    for thread in threads:
        thread.join(30)
    for reader, got in zip(readers, found, strict=True):
        lost = [p for stretch in reader.lost_pulses for p in stretch]
        assert sorted(got + lost) == list(range(3000))
        assert reader.lost == len(lost)
        assert got == sorted(got)


step = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 30), st.integers(0, 30), st.integers(0, 60)),
    st.tuples(st.just("read"), st.integers(0, 1)),
)


@settings(max_examples=200)
@given(st.integers(1, 6), st.integers(20, 100), st.lists(step, max_size=40))
def test_like_a_plain_list(max_events: int, max_bytes: int, steps: list[tuple[Any, ...]]) -> None:
    """The ring against a list of everything that was ever written."""
    ring = MemoryRing(max_events, max_bytes)
    epochs = EpochCounter()
    readers = [ring.reader(), ring.reader()]
    model: list[tuple[int, int, int]] = []  # epoch, pulse id, bytes
    oldest, positions, lost = 0, [0, 0], [0, 0]
    for what, *values in steps:
        if what == "write":
            pulse_id, time_ns, size = values
            ring.write([event(pulse_id, size, time_ns)])
            if size <= max_bytes:
                model.append((epochs.place(pulse_id, time_ns), pulse_id, size))
            while len(model) - oldest > max_events or sum(m[2] for m in model[oldest:]) > max_bytes:
                oldest += 1
            for i in (0, 1):
                lost[i] += max(0, oldest - positions[i])
                positions[i] = max(oldest, positions[i])
        else:
            i = values[0]
            assert drain(readers[i]) == [m[1] for m in model[positions[i] :]]
            positions[i] = len(model)
        held = model[oldest:]
        assert len(ring) == len(held)
        assert ring.n_bytes == sum(m[2] for m in held)
        assert [r.lost for r in readers] == lost
        current = {m[1]: m[2] for m in held if m[0] == model[-1][0]}
        assert ring.span == (PulseRange(min(current), max(current)) if current else None)
        for pulse_id, size in current.items():
            assert ring.get(pulse_id).arrays["x"].size == size
        assert ids(ring.read(PulseRange(0, 30))) == sorted(current)
