"""A ring on disk: minutes to hours of any stream, written once, read by any process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from forebay.errors import WireError
from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.ring.disk_follower import Follower
from forebay.ring.disk_limits import DiskCounters, DiskLimits, ReadCounters
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter
from forebay.ring.memory import Start
from forebay.ring.segment import Part, Record

Encode = Callable[[Event], Sequence[Part]]
"""Turn an event into the parts that are stored; raises only `WireError`."""

Decode = Callable[[Record], Event]
"""Turn a record back into its event, with the record's time where the parts say none; only `WireError`."""


class DiskReader:
    """Read events of the ring in `directory`, in any process; `RingError` if there is none.

    Attributes
    ----------
    records:
        The same ring as records, not decoded.
    undecodable:
        Records of `read` and `read_time` that `decode` refused.
    """

    def __init__(self, directory: Path, decode: Decode) -> None:
        self.records = RecordReader(directory)
        self.undecodable = 0
        self._decode = decode

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id of the newest epoch; None while the ring is empty."""
        return self.records.span

    @property
    def epoch(self) -> int:
        """The newest epoch; see `RecordReader.epoch`."""
        return self.records.epoch

    def get(self, pulse_id: int) -> Event:
        """Return the event of `pulse_id`; see `RecordReader.get`. `WireError` if it cannot be decoded."""
        return self._decode(self.records.get(pulse_id))

    def read(self, pulses: PulseRange) -> Iterator[Event]:
        """Yield the events of these pulses that are there, by rising pulse id; see `RecordReader.read`."""
        return self._events(self.records.read(pulses))

    def read_time(self, first_ns: int, last_ns: int) -> Iterator[Event]:
        """Yield the events of this time, ends included; see `RecordReader.read_time`."""
        return self._events(self.records.read_time(first_ns, last_ns))

    def reader(self, start: Start = "oldest") -> DiskSource:
        """Return a `forebay.ports.Source` of what is there and then what comes; see `RecordReader.follow`."""
        return DiskSource(self.records.follow(start), self._decode)

    def _events(self, records: Iterator[Record]) -> Iterator[Event]:
        for record in records:
            try:
                event = self._decode(record)
            except WireError:
                self.undecodable += 1
                continue
            yield event


class DiskRing(DiskReader):
    """The newest events of one source on disk; a `forebay.ports.Ring` and its one writer.

    Parameters
    ----------
    directory:
        Made if need be; holds nothing else. On a local file system.
    encode, decode:
        How events are stored: as received, or compressed, never worked on here.
    limits:
        How much is kept; whole segments leave, oldest first.
    group:
        Name or number of a group that may read the ring as well.

    Attributes
    ----------
    unencodable:
        Events that `encode` refused.

    Raises
    ------
    RingError
        If the ring has another writer or the directory cannot be used.
    """

    def __init__(
        self, directory: Path, encode: Encode, decode: Decode, limits: DiskLimits, group: str | None = None
    ) -> None:
        self._writer = RecordWriter(directory, limits, group)
        super().__init__(directory, decode)
        self.unencodable = 0
        self._encode = encode

    @property
    def counters(self) -> DiskCounters:
        """What became of the events that `encode` accepted."""
        return self._writer.counters

    def write(self, events: Sequence[Event]) -> None:
        """Append these events; what it returned from survives the death of this process."""
        self._writer.write(self._encoded(events))

    def sync(self) -> None:
        """Return when everything written so far would survive a loss of power."""
        self._writer.sync()

    def close(self) -> None:
        """Sync everything and let another writer in; the ring can still be read."""
        self._writer.close()

    def _encoded(self, events: Sequence[Event]) -> Iterator[tuple[int, int, Sequence[Part]]]:
        for event in events:
            try:
                parts = self._encode(event)
            except WireError:
                self.unencodable += 1
                continue
            yield event.pulse_id, event.time_ns, parts


class DiskSource:
    """Events of a disk ring as they come; made by `DiskReader.reader`.

    Attributes
    ----------
    undecodable:
        Records that `decode` refused.
    """

    def __init__(self, follower: Follower, decode: Decode) -> None:
        self.undecodable = 0
        self._follower = follower
        self._decode = decode

    @property
    def counters(self) -> ReadCounters:
        """What expired before it was read, and what was damaged."""
        return self._follower.counters

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return the next events in order of arrival; see `forebay.ports.Source`."""
        records = self._follower.read(timeout)
        if records is None:
            return None
        events = []
        for record in records:
            try:
                events.append(self._decode(record))
            except WireError:
                self.undecodable += 1
        return events

    def close(self) -> None:
        """Stop reading; a read that waits returns None."""
        self._follower.close()
