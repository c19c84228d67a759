"""Which pulses are asked for, which of them came, and what is missing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from forebay.errors import RangeError
from forebay.pulse import MAX_PULSE_ID, PulseRange

MAX_LISTED: Final = 10_000
"""Most stretches that a report lists; the count beside the list is always whole."""

JOIN_PULSES: Final = 64
"""Selected pulses that lie no further apart are read together: reading on costs less than another look."""


class Asked:
    """The pulses of a request, each with its index: 0 is the first, `n` - 1 the last.

    Parameters
    ----------
    pulses:
        A range, or pulse ids in any order; repeated ones count once.

    Raises
    ------
    RangeError
        If there is no pulse id, or one cannot be.
    """

    def __init__(self, pulses: PulseRange | Sequence[int]) -> None:
        self._range = pulses if isinstance(pulses, PulseRange) else None
        self._ids: list[int] = [] if isinstance(pulses, PulseRange) else sorted(set(pulses))
        if isinstance(pulses, PulseRange):
            self.n, self.first, self.last = len(pulses), pulses.first, pulses.last
            return
        if not self._ids:
            raise RangeError("No pulse was selected.", "Name at least one pulse id.")
        self.n, self.first, self.last = len(self._ids), self._ids[0], self._ids[-1]
        if not 0 <= self.first <= self.last <= MAX_PULSE_ID:
            wrong = self.first if self.first < 0 else self.last
            raise RangeError(f"Pulse {wrong} cannot be: pulse ids lie between 0 and {MAX_PULSE_ID}.")

    def __str__(self) -> str:
        if self._range is not None:
            return str(self._range)
        return f"{self.n} selected pulses of {self.first}..{self.last}"

    def index(self, pulse_id: int) -> int | None:
        """Return the index of a pulse; None if it is not asked for."""
        if self._range is not None:
            if not self.first <= pulse_id <= self.last:
                return None
            i, rest = divmod(pulse_id - self.first, self._range.step)
            return None if rest else i
        i = bisect_left(self._ids, pulse_id)
        return i if i < self.n and self._ids[i] == pulse_id else None

    def index_from(self, pulse_id: int) -> int:
        """Return the index of the first pulse at or above `pulse_id`; `n` if there is none."""
        if self._range is None:
            return bisect_left(self._ids, pulse_id)
        return min(self.n, max(0, -(-(pulse_id - self.first) // self._range.step)))

    def pulses(self, i_first: int, i_last: int) -> list[PulseRange]:
        """Return just the pulses with these indices, ends included, as ranges."""
        if self._range is not None:
            step = self._range.step
            return [PulseRange(self.first + i_first * step, self.first + i_last * step, step)]
        return _joined(self._ids[i_first : i_last + 1], 1)

    def hulls(self, i_first: int, i_last: int) -> list[PulseRange]:
        """Return few ranges that hold the pulses with these indices, and perhaps others between them."""
        if self._range is not None:
            return self.pulses(i_first, i_last)
        return _joined(self._ids[i_first : i_last + 1], JOIN_PULSES)


def _joined(ids: Sequence[int], apart: int) -> list[PulseRange]:
    breaks = np.flatnonzero(np.diff(np.asarray(ids, np.int64)) > apart).tolist()
    firsts, lasts = [0, *(i + 1 for i in breaks)], [*breaks, len(ids) - 1]
    return [PulseRange(ids[first], ids[last]) for first, last in zip(firsts, lasts, strict=True)]


class Got:
    """Indices that came, kept as stretches: small as long as few are missing."""

    def __init__(self) -> None:
        self.n = 0
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __contains__(self, i: int) -> bool:
        at = bisect_left(self._lasts, i)
        return at < len(self._lasts) and self._firsts[at] <= i

    def add(self, i: int) -> bool:
        """Note that `i` came; False if it had come before."""
        firsts, lasts = self._firsts, self._lasts
        at = bisect_left(lasts, i) if lasts and i <= lasts[-1] else len(lasts)
        if at < len(lasts) and firsts[at] <= i:
            return False
        self.n += 1
        joins_before = at > 0 and lasts[at - 1] == i - 1
        joins_after = at < len(firsts) and firsts[at] == i + 1
        if joins_before and joins_after:
            lasts[at - 1] = lasts.pop(at)
            firsts.pop(at)
        elif joins_before:
            lasts[at - 1] = i
        elif joins_after:
            firsts[at] = i
        else:
            firsts.insert(at, i)
            lasts.insert(at, i)
        return True

    def gaps(self, n: int) -> Iterator[tuple[int, int]]:
        """Yield first and last index of each stretch below `n` that did not come, rising."""
        begin = 0
        for first, last in zip(self._firsts, self._lasts, strict=True):
            if begin >= n:
                return
            if first > begin:
                yield begin, min(first, n) - 1
            begin = last + 1
        if begin < n:
            yield begin, n - 1


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one stream's pulses.

    Attributes
    ----------
    source:
        Name of the stream.
    expected, got, missing:
        Pulses asked for, those that were handed out, and the rest.
    missing_pulses:
        The first `MAX_LISTED` stretches of missing pulses, rising.
    from_past, from_live:
        Where those that came were taken from.
    span:
        What the rings held when the retrieval began; None if nothing.
    reason:
        Why it ended: ``last pulse``, ``deadline``, ``nothing came for N s``, ``the pulse counter
        restarted``, ``expired``, ``the source ended``, ``nothing newer is there``, ``stopped``; empty
        while it goes on.
    """

    source: str
    expected: int
    got: int
    missing: int
    missing_pulses: tuple[PulseRange, ...]
    from_past: int
    from_live: int
    span: PulseRange | None
    reason: str


def missing_pulses(asked: Asked, got: Got) -> tuple[PulseRange, ...]:
    """Return the first `MAX_LISTED` stretches of `asked` that are not among `got`."""
    stretches = (one for gap in got.gaps(asked.n) for one in asked.pulses(*gap))
    return tuple(islice(stretches, MAX_LISTED))
