"""A bsread stream from a pulse on, as far back as the buffer's ring on disk reaches: no gap, no double."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from forebay.event import Event
from forebay.ports import Source
from forebay.pulse import PulseRange
from forebay.retrieve import Retrieval, Stream
from forebay.ring.disk import DiskReader
from forebay.ring.epoch import LATE_NS
from forebay.ring.memory import nbytes
from forebay.service.bsread_disk import open_ring

READ_EVENTS: Final = 64
READ_BYTES: Final = 32 * 2**20
"""One read returns no more events than this, and stops at the first that passes so many bytes."""

_FOREVER = 2**62


class Inlet(Source, Protocol):
    """A stream's messages from the network; see `forebay.stream.bsread.BsreadInlet`."""

    @property
    def counters(self) -> dict[str, int]:
        """What came."""
        ...


class PastAndPresent:
    """A source of all events of a stream from a pulse on.

    First come those in the ring on disk, then those that the buffer sends: its memory, and what comes. What
    the buffer could not send, because this reader was too slow for its memory or the connection was lost,
    is looked for on disk as well. Ends when the pulse counter restarts.

    Parameters
    ----------
    directory:
        Of the buffer's ring on disk.
    connect:
        Opens the buffer's stream, which begins with its memory.

    Raises
    ------
    RingError
        If there is no ring in the directory or it cannot be read.
    """

    def __init__(self, directory: Path, connect: Callable[[], Inlet], first_pulse: int) -> None:
        self._disk = open_ring(directory)
        self._connect = connect
        self._first_pulse = first_pulse
        self._live: Filled | None = None
        self._n_from_disk = 0
        stream = Stream("bsread", pasts=(self._disk,), live=self._open_live)
        self._retrieval = Retrieval(stream, PulseRange(first_pulse, _FOREVER))

    @property
    def counters(self) -> dict[str, int]:
        """Those of the stream; events ``from_disk`` before it was joined, and ``filled`` in from disk."""
        live = self._live
        came = live.counters if live else {}
        return came | {"from_disk": self._n_from_disk, "filled": live.n_filled if live else 0}

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        events = self._retrieval.read(timeout)
        if events and self._live is None:
            self._n_from_disk += len(events)
        return events

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._retrieval.close()

    def _open_live(self) -> Source:
        self._live = Filled(self._connect(), self._disk, self._first_pulse)
        return self._live


class Filled:
    """A buffer's stream in which what was missed is filled in from the buffer's ring on disk.

    The buffer writes to disk before it sends: a jump of the pulse ids means that there may be something on
    disk. A buffer begins anew with its memory whenever it is connected to; what is older than a late event
    may be is left out then, and what is not comes again. Nothing before `first_pulse` is looked for.

    Attributes
    ----------
    n_filled:
        Events that came from disk.
    """

    def __init__(self, inlet: Inlet, disk: DiskReader, first_pulse: int) -> None:
        self.n_filled = 0
        self._inlet = inlet
        self._disk = disk
        last = newest(disk)
        self._first_pulse = first_pulse
        self._high, self._time_ns = (-1, 0) if last is None else (last.pulse_id, last.time_ns)
        self._waiting: Iterator[Event] = iter(())

    @property
    def counters(self) -> dict[str, int]:
        """Those of the stream."""
        return self._inlet.counters

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        wait_s = timeout
        while not (events := self._take()):
            came = self._inlet.read(wait_s)
            if not came:
                return came
            self._waiting = self._filled(came)
            wait_s = 0.0  # what was left out has come at once
        return events

    def _take(self) -> Sequence[Event]:
        events: list[Event] = []
        n_bytes = 0
        for event in self._waiting:
            events.append(event)
            n_bytes += nbytes(event)
            if len(events) == READ_EVENTS or n_bytes > READ_BYTES:
                break
        return events

    def close(self) -> None:
        """Disconnect."""
        self._inlet.close()

    def _filled(self, came: Sequence[Event]) -> Iterator[Event]:
        for event in came:
            if event.pulse_id <= self._high:
                if event.time_ns >= self._time_ns - LATE_NS:
                    yield event
                continue
            first = max(self._high + 1, self._first_pulse)
            if first < event.pulse_id:
                for one in self._disk.read(PulseRange(first, event.pulse_id - 1)):
                    self.n_filled += 1
                    yield one
            self._high, self._time_ns = event.pulse_id, event.time_ns
            yield event


def newest(disk: DiskReader) -> Event | None:
    """Return the newest event on disk; None if there is none, or it leaves just now."""
    span = disk.span
    return None if span is None else next(disk.read(PulseRange(span.last, span.last)), None)
