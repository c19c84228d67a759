"""Pulse ids and ranges of them: both ends included, aligned to a step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from forebay.errors import RangeError

MAX_PULSE_ID = 2**63 - 1
"""Largest pulse id: it must fit a signed 64-bit integer and be exact in every format that we write."""

_TEXT = re.compile(r"^(\d+)\.\.(\d+)(?:/(\d+))?$")


@dataclass(frozen=True, slots=True)
class PulseRange:
    """All pulse ids ``p`` with ``first <= p <= last`` and ``p % step == 0``.

    The ends are moved inwards to the nearest multiple of `step`, so that `first` and `last` are
    themselves members.

    Raises
    ------
    RangeError
        If the range is reversed, leaves 0 .. `MAX_PULSE_ID`, or holds no multiple of `step`.
    """

    first: int
    last: int
    step: int = 1

    def __post_init__(self) -> None:
        asked = f"{self.first}..{self.last}" + (f"/{self.step}" if self.step != 1 else "")
        if self.step < 1:
            raise RangeError(f"Pulse range {asked}: the step must be at least 1.")
        if not 0 <= self.first <= MAX_PULSE_ID or not 0 <= self.last <= MAX_PULSE_ID:
            raise RangeError(f"Pulse range {asked}: pulse ids lie between 0 and {MAX_PULSE_ID}.")
        if self.last < self.first:
            raise RangeError(f"Pulse range {asked} is reversed.", "Give the smaller pulse id first.")
        first = -(-self.first // self.step) * self.step
        last = self.last // self.step * self.step
        if last < first:
            raise RangeError(f"Pulse range {asked} holds no multiple of {self.step}.")
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "last", last)

    @classmethod
    def parse(cls, text: str) -> PulseRange:
        """Read ``A..B`` or ``A..B/STEP``; `RangeError` if it is neither."""
        match = _TEXT.match(text.strip())
        if match is None:
            raise RangeError(f"{text!r} is not a pulse range.", "Write it A..B or A..B/STEP, ends included.")
        first, last, step = match.groups()
        return cls(int(first), int(last), int(step or 1))

    def __str__(self) -> str:
        return f"{self.first}..{self.last}" + (f"/{self.step}" if self.step != 1 else "")

    def __len__(self) -> int:
        return (self.last - self.first) // self.step + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1, self.step))

    def __contains__(self, pulse_id: object) -> bool:
        return isinstance(pulse_id, int) and self.first <= pulse_id <= self.last and pulse_id % self.step == 0

    def overlap(self, other: PulseRange) -> PulseRange | None:
        """Return the members of this range between the ends of `other`; None if there are none."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        if last < first or last // self.step * self.step < first:
            return None
        return PulseRange(first, last, self.step)
