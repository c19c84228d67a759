"""A ring in this process's memory: events of changing shape, any number of readers."""

from __future__ import annotations

import heapq
import threading
import weakref
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from forebay.errors import AbsentError, ConfigError, NotYetError, OverwrittenError, RingError
from forebay.event import Event
from forebay.pulse import MAX_PULSE_ID, PulseRange
from forebay.ring.epoch import EpochCounter

MAX_LOSSES: Final = 1000
"""How many stretches of lost pulses a reader remembers; older ones remain in the count only."""

READ_EVENTS: Final = 1024
"""Most events that one read returns."""

Start = Literal["oldest", "newest"] | int


def nbytes(event: Event) -> int:
    """Return what an event's arrays occupy: ``nbytes`` of their mapping if it has that, else the sum."""
    known = getattr(event.arrays, "nbytes", None)
    if known is not None:
        return int(known)
    return sum(array.nbytes for array in event.arrays.values())


class _Held(NamedTuple):
    event: Event
    n_bytes: int
    epoch: int


class _Log:
    """What a ring and its readers share: the events that are held, by number of arrival."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.held: dict[int, _Held] = {}  # the numbers have no gap
        self.written = 0
        self.closed = False
        self.readers: weakref.WeakSet[MemoryReader] = weakref.WeakSet()


class MemoryRing:
    """The newest events of one source, bounded by count and by bytes; a `forebay.ports.Ring`.

    Any thread may write, get and read. Pulse ids count in the newest epoch only (see
    `forebay.ring.epoch`): once the source's counter restarts, `span`, `get` and `read` know the
    events since then, while readers still go through the older ones in the order of arrival. Of a
    repeated pulse id the newest event wins; readers see all of them.

    The events are kept as they are: arrays that refer to memory of somebody else must stay valid.

    Parameters
    ----------
    max_events, max_bytes:
        Bounds; the oldest events leave as soon as one of them is passed. An event that is larger than
        `max_bytes` by itself is not taken, and counted in `refused`.

    Attributes
    ----------
    expired, refused:
        Events that have left, and events not taken: too large, or with an impossible pulse id.
    n_bytes:
        Bytes of the arrays of all events that are held.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        if max_events < 1 or max_bytes < 1:
            raise ConfigError(
                f"A memory ring of {max_events} events and {max_bytes} bytes cannot hold anything.",
                "Give at least 1 of each.",
            )
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.expired = 0
        self.refused = 0
        self.n_bytes = 0
        self._log = _Log()
        self._number: dict[int, int] = {}  # pulse id of the newest epoch -> number
        self._ascending: list[int] = []  # a heap; ids that have left are removed when they come to the top
        self._high = -1
        self._epochs = EpochCounter()

    def __len__(self) -> int:
        return len(self._log.held)

    @property
    def written(self) -> int:
        """Events taken since the start."""
        return self._log.written

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id of the newest epoch; None while the ring is empty."""
        with self._log.changed:
            return self._span()

    @property
    def epoch(self) -> int:
        """How often the source's counter has restarted."""
        with self._log.changed:
            return self._epochs.epoch

    def write(self, events: Sequence[Event]) -> None:
        """Take these events; `RingError` once the ring is closed."""
        with self._log.changed:
            if self._log.closed:
                raise RingError(f"{len(events)} events were written to a memory ring that is closed.")
            for event in events:
                self._take(event)
            self._log.changed.notify_all()

    def get(self, pulse_id: int) -> Event:
        """Return the event of `pulse_id`; errors as in `forebay.ports.Ring.get`, each names the span."""
        with self._log.changed:
            number = self._number.get(pulse_id)
            if number is not None:
                return self._log.held[number].event
            raise missing(pulse_id, self._span())

    def read(self, pulses: PulseRange) -> list[Event]:
        """Return the events of these pulses that are there, by rising pulse id."""
        with self._log.changed:
            return [self._log.held[self._number[p]].event for p in sorted(self._number) if p in pulses]

    def reader(self, start: Start = "oldest") -> MemoryReader:
        """Return a reader with a position and a loss counter of its own; a `forebay.ports.Source`.

        Parameters
        ----------
        start:
            ``"oldest"`` or ``"newest"``: the first event read is the oldest or newest that is held (or
            the next to come). A pulse id: the first event read is the first at or above it.

        Raises
        ------
        OverwrittenError
            If `start` is a pulse id that has left the ring.
        """
        with self._log.changed:
            position, wanted = self._position(start)
            reader = MemoryReader(self._log, position, wanted)
            self._log.readers.add(reader)
            return reader

    def close(self) -> None:
        """Take no more events. Readers get what is left and then None."""
        with self._log.changed:
            self._log.closed = True
            self._log.changed.notify_all()

    def _take(self, event: Event) -> None:
        n_bytes = nbytes(event)
        if n_bytes > self.max_bytes or not 0 <= event.pulse_id <= MAX_PULSE_ID:
            self.refused += 1
            return
        while self._log.held and (
            len(self._log.held) >= self.max_events or self.n_bytes + n_bytes > self.max_bytes
        ):
            self._expire()
        newest = self._epochs.epoch
        epoch = self._epochs.place(event.pulse_id, event.time_ns)
        if epoch != newest:
            self._number.clear()
            self._ascending.clear()
            self._high = -1
        if event.pulse_id not in self._number:
            heapq.heappush(self._ascending, event.pulse_id)
        self._number[event.pulse_id] = self._log.written
        self._high = max(self._high, event.pulse_id)
        self._log.held[self._log.written] = _Held(event, n_bytes, epoch)
        self.n_bytes += n_bytes
        self._log.written += 1

    def _expire(self) -> None:
        number = self.expired
        held = self._log.held.pop(number)
        pulse_id = held.event.pulse_id
        self.n_bytes -= held.n_bytes
        self.expired += 1
        if self._number.get(pulse_id) == number:
            del self._number[pulse_id]
            if pulse_id == self._high:
                self._high = max(self._number, default=-1)
            while self._ascending and self._ascending[0] not in self._number:
                heapq.heappop(self._ascending)
        for reader in self._log.readers:
            reader.pass_over(number, held.epoch, pulse_id)

    def _span(self) -> PulseRange | None:
        return PulseRange(self._ascending[0], self._high) if self._number else None

    def _position(self, start: Start) -> tuple[int, int | None]:
        if start == "oldest":
            return self.expired, None
        if start == "newest":
            return max(self.expired, self._log.written - 1), None
        span = self._span()
        if span is None:
            return self._log.written, start
        if start < span.first:
            raise missing(start, span)
        at_or_above = [number for pulse_id, number in self._number.items() if pulse_id >= start]
        return min(at_or_above, default=self._log.written), start


class MemoryReader:
    """One reader's place in a memory ring; made by `MemoryRing.reader`.

    Attributes
    ----------
    lost:
        Events that left the ring before this reader had read them.
    """

    def __init__(self, log: _Log, position: int, wanted: int | None) -> None:
        self.lost = 0
        self._log = log
        self._position = position
        self._wanted = wanted
        self._losses: list[tuple[int, int]] = []  # first and last pulse id of each stretch
        self._stretch: int | None = None  # epoch of the last stretch while it may still grow
        self._closed = False

    @property
    def lost_pulses(self) -> tuple[PulseRange, ...]:
        """The last `MAX_LOSSES` stretches of loss, oldest first: all that the ring held of them is lost."""
        with self._log.changed:
            return tuple(PulseRange(first, last) for first, last in self._losses)

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return the next events in order of arrival, at most `READ_EVENTS`; see `forebay.ports.Source`."""
        log = self._log
        with log.changed:
            log.changed.wait_for(lambda: self._closed or log.closed or self._waiting(), timeout)
            if self._closed:
                return None
            n_events = min(self._waiting(), READ_EVENTS)
            if not n_events:
                return None if log.closed else ()
            events = [log.held[self._position + i].event for i in range(n_events)]
            self._position += n_events
            self._stretch = None
        if self._wanted is not None:
            events = self._from_wanted(events)
        return events

    def close(self) -> None:
        """Stop reading; a read that waits returns None."""
        with self._log.changed:
            self._closed = True
            self._log.readers.discard(self)
            self._log.changed.notify_all()

    def _waiting(self) -> int:
        return self._log.written - self._position

    def _from_wanted(self, events: list[Event]) -> list[Event]:
        for i, event in enumerate(events):
            if event.pulse_id >= (self._wanted or 0):
                self._wanted = None
                return events[i:]
        return []

    def pass_over(self, number: int, epoch: int, pulse_id: int) -> None:
        """Count the loss if event `number` was the next to read; the ring calls this under its lock."""
        if number != self._position:
            return
        self._position += 1
        if self._wanted is not None and pulse_id < self._wanted:
            return
        self._wanted = None
        self.lost += 1
        if self._stretch == epoch:
            first, last = self._losses[-1]
            self._losses[-1] = (min(first, pulse_id), max(last, pulse_id))
        else:
            self._losses.append((pulse_id, pulse_id))
            del self._losses[:-MAX_LOSSES]
            self._stretch = epoch


def missing(pulse_id: int, span: PulseRange | None) -> NotYetError | OverwrittenError | AbsentError:
    """Return the error that says why a ring with this span has no event of `pulse_id`."""
    if span is None:
        return NotYetError(f"Pulse {pulse_id} is not there: the ring is empty.", "Wait for it.")
    if pulse_id > span.last:
        return NotYetError(f"Pulse {pulse_id} has not come yet: the ring holds {span}.", "Wait for it.")
    if pulse_id < span.first:
        return OverwrittenError(
            f"Pulse {pulse_id} has left the ring, which holds {span}.", "Ask earlier or enlarge the ring."
        )
    return AbsentError(f"Nothing came for pulse {pulse_id}: the ring holds {span} without it.")
