"""Following a shared ring: every reader has a position of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from forebay.errors import OverwrittenError
from forebay.event import Event

if TYPE_CHECKING:
    from forebay.ring.shared import SharedRing

ORPHAN_S = 2.0
"""How long a ring whose owner died may still release what was in flight."""

_BATCH = 64


class RingReader:
    """A source over a shared ring; nobody's reading takes anything from anybody.

    Attributes
    ----------
    n_lost:
        Events that left the log before this reader came to them.
    """

    def __init__(self, ring: SharedRing, number: int) -> None:
        self.ring = ring
        self.n_lost = 0
        self._next = number
        self._orphan_since: float | None = None

    @property
    def n_behind(self) -> int:
        """Events released and not yet read."""
        return max(0, self.ring.n_events - self._next)

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return what was released since, oldest first; None when the ring is read out and over.

        It is over when it was finished, or its owner has been dead for `ORPHAN_S` seconds.
        """
        slots = self.ring.slots
        if slots.head <= self._next:
            finished = self._is_over()
            if slots.head <= self._next:
                if finished:
                    return None
                slots.wait(self._next, timeout)
        head = slots.head
        oldest = head - self.ring.n_log
        if self._next < oldest:
            self.n_lost += oldest - self._next
            self._next = oldest
        events = []
        for number in range(self._next, min(head, self._next + _BATCH)):
            try:
                events.append(self.ring.event(number))
            except OverwrittenError:
                self.n_lost += 1
            self._next = number + 1
        return events

    def _is_over(self) -> bool:
        if self.ring.is_finished:
            return True
        if self.ring.owner_lives:
            self._orphan_since = None
            return False
        self._orphan_since = self._orphan_since or time.monotonic()
        return time.monotonic() - self._orphan_since > ORPHAN_S

    def close(self) -> None:
        """Nothing to let go of: the ring belongs to whoever attached it."""
