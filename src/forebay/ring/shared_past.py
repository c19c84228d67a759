"""A shared ring as a past: its pulses by range, none that is about to be overwritten."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from forebay.errors import OverwrittenError
from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.ring.epoch import EpochCounter
from forebay.ring.shared import SharedRing


class SharedPast:
    """Events of a shared ring by range of pulses; for one thread.

    Parameters
    ----------
    ring:
        Stays the caller's.
    margin:
        Part of the slots, the oldest, that is left out: what is handed out lives so much longer.
    """

    def __init__(self, ring: SharedRing, margin: float = 0.5) -> None:
        self._ring = ring
        step: int = ring.slots.describe()["pulse_step"]
        self._reach = max(1, int(ring.n_slots * (1 - margin))) * step
        self._next = max(0, ring.n_events - ring.n_slots)
        self._epochs = EpochCounter()
        self._numbers: dict[int, int] = {}  # pulse id -> number in the log, of the newest epoch
        self._rising: deque[int] = deque()  # the same pulse ids
        self._high = -1

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id; None while there is nothing."""
        self._follow()
        return PulseRange(self._rising[0], self._high) if self._rising else None

    @property
    def epoch(self) -> int:
        """How often the counter has restarted since this was made."""
        self._follow()
        return self._epochs.epoch

    def read(self, pulses: PulseRange) -> Iterator[Event]:
        """Yield the events of these pulses, by rising pulse id; what is too old by its turn is left out."""
        self._follow()
        epoch = self._epochs.epoch
        for pulse_id in [p for p in self._rising if p in pulses]:
            self._follow()
            number = self._numbers.get(pulse_id)
            if self._epochs.epoch != epoch or number is None:
                continue
            try:
                yield self._ring.event(number)
            except OverwrittenError:
                continue

    def _follow(self) -> None:
        """Take note of what was released since the last look."""
        head = self._ring.n_events
        for number in range(max(self._next, head - self._ring.n_log), head):
            try:
                event = self._ring.event(number)
            except OverwrittenError:
                continue
            epoch = self._epochs.epoch
            if self._epochs.place(event.pulse_id, event.time_ns) != epoch:
                self._numbers.clear()
                self._rising.clear()
                self._high = -1
            if event.pulse_id > self._high:
                self._high = event.pulse_id
                self._rising.append(event.pulse_id)
                self._numbers[event.pulse_id] = number
        self._next = head
        while self._rising and self._rising[0] <= self._high - self._reach:
            del self._numbers[self._rising.popleft()]
