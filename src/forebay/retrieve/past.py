"""Rings read as one: the freshest copy of every pulse, by rising pulse id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice, pairwise
from typing import Final, Protocol

from forebay.event import Event
from forebay.ports import Source
from forebay.pulse import PulseRange

CHUNK_EVENTS: Final = 64
"""So many events of one ring are compared at once with what the others have."""

_FEW: Final = 8  # stretches that are read one by one; of more, the other ring is read through


class Past(Protocol):
    """A ring that can be asked for ranges; what it says is of its newest epoch."""

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id; None while it holds nothing."""
        ...

    @property
    def epoch(self) -> int:
        """A number that grows when the source's pulse counter restarts."""
        ...

    def read(self, pulses: PulseRange) -> Iterable[Event]:
        """Return the events of these pulses that are there, by rising pulse id."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """One source's past and present.

    Attributes
    ----------
    name:
        Of the source.
    pasts:
        Rings, the freshest first: of a pulse that several have, the first one's copy is taken.
    live:
        Opens what comes from now on (the newest event of the first ring may come once more); the first
        ring holds an event before the live source gives it. Whoever calls it closes it. None where
        nothing is to come.
    """

    name: str
    pasts: Sequence[Past]
    live: Callable[[], Source] | None = None


class Pasts:
    """The rings of one stream as long as its pulse counter does not restart.

    Rings do not number their epochs alike. A ring belongs to the epoch of the fresher ones unless its
    newest event, compared with the oldest of theirs, has a larger pulse id and yet an earlier time:
    then it has not heard of a restart.

    Attributes
    ----------
    restarted:
        Whether the counter restarted since this was made; nothing more is read then.
    """

    def __init__(self, pasts: Sequence[Past]) -> None:
        self.restarted = False
        self._pasts = pasts
        self._epochs: list[int | None] = [None] * len(pasts)
        for depth in range(len(pasts)):
            self._span(depth)

    @property
    def spans(self) -> list[PulseRange]:
        """What each ring of the epoch holds; empty ones are left out."""
        return [span for depth in range(len(self._pasts)) if (span := self._span(depth)) is not None]

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id of all rings."""
        spans = self.spans
        return PulseRange(min(s.first for s in spans), max(s.last for s in spans)) if spans else None

    def newest(self) -> Event | None:
        """Return the newest event of the freshest ring that holds something."""
        for depth, past in enumerate(self._pasts):
            span = self._span(depth)
            if span is not None:
                return _one(past, span.last)
        return None

    def holds_still(self) -> bool:
        """Say whether the counter has not restarted up to now."""
        return not self.restarted and all(map(self._is_same, range(len(self._pasts))))

    def read(self, pulses: PulseRange, depth: int = 0) -> Iterator[Event]:
        """Yield what the rings from the one at `depth` on have of these pulses, by rising pulse id."""
        rest: PulseRange | None = pulses
        while rest is not None and depth < len(self._pasts) and not self.restarted:
            span = self._span(depth)
            if span is None or span.last < rest.first:
                yield from self.read(rest, depth + 1)
                return
            if span.first > rest.first:  # after this the ring has moved on, so look again
                older = between(rest.first, min(rest.last, span.first - 1), rest.step)
                if older is not None:
                    yield from self.read(older, depth + 1)
                rest = between(span.first, rest.last, rest.step)
                continue
            inside = rest.overlap(span)
            if inside is not None:
                yield from self._inside(inside, depth)
            rest = between(span.last + 1, rest.last, rest.step)

    def _inside(self, pulses: PulseRange, depth: int) -> Iterator[Event]:
        """Yield what one ring has within its span, and what the next ones have of the rest."""
        events = iter(self._pasts[depth].read(pulses))
        rest: PulseRange | None = pulses
        while rest is not None:
            chunk = list(islice(events, CHUNK_EVENTS))
            if not self._is_same(depth):
                return
            last = chunk[-1].pulse_id if chunk else rest.last
            looked_at = between(rest.first, last, rest.step)
            assert looked_at is not None
            yield from self._filled(chunk, looked_at, depth)
            rest = between(last + 1, rest.last, rest.step)

    def _filled(self, chunk: list[Event], pulses: PulseRange, depth: int) -> Iterator[Event]:
        ids = [event.pulse_id for event in chunk]
        if len(ids) == len(pulses) or depth + 1 == len(self._pasts):
            yield from chunk
            return
        edges = pairwise([pulses.first - 1, *ids, pulses.last + 1])
        holes = [hole for a, b in edges if (hole := between(a + 1, b - 1, pulses.step)) is not None]
        if len(holes) > _FEW:
            holes = [pulses]
        there = set(ids)
        others = (e for hole in holes for e in self.read(hole, depth + 1) if e.pulse_id not in there)
        yield from merge(chunk, others, key=lambda event: event.pulse_id)

    def _span(self, depth: int) -> PulseRange | None:
        """Return what a ring holds of the epoch; None if it is empty or has not heard of the epoch."""
        past = self._pasts[depth]
        span = past.span
        if span is None or not self._is_same(depth):
            return None
        if self._epochs[depth] is None:
            epoch = past.epoch
            others = range(len(self._pasts))
            if any(self._is_behind(depth, other) for other in others[:depth]):
                return None
            if any(self._is_behind(other, depth) for other in others[depth + 1 :]):
                self.restarted = True  # an empty ring was filled, with what comes after a restart
                return None
            self._epochs[depth] = epoch
        return span

    def _is_same(self, depth: int) -> bool:
        known = self._epochs[depth]
        if known is not None and self._pasts[depth].epoch != known:
            self.restarted = True
        return not self.restarted

    def _is_behind(self, depth: int, fresher: int) -> bool:
        """Say whether a ring has not heard of the restart after which all of the fresher one came."""
        span, fresh = self._pasts[depth].span, self._pasts[fresher].span
        if (
            span is None
            or fresh is None
            or span.last < fresh.first
            or (self._epochs[fresher] is None and self._epochs[depth] is None)
        ):
            return False
        newest, oldest = _one(self._pasts[depth], span.last), _one(self._pasts[fresher], fresh.first)
        return newest is not None and oldest is not None and newest.time_ns < oldest.time_ns


def between(first: int, last: int, step: int) -> PulseRange | None:
    """Return the multiples of `step` from `first` to `last`; None if there are none."""
    if last < first or last // step * step < first:
        return None
    return PulseRange(first, last, step)


def _one(past: Past, pulse_id: int) -> Event | None:
    return next(iter(past.read(PulseRange(pulse_id, pulse_id))), None)
