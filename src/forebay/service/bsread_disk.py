"""The ring on disk beside a bsread buffer: written, read again, and never a reason to stop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.errors import ForebayError, RingError
from forebay.event import Event
from forebay.ports import Sink
from forebay.pulse import PulseRange
from forebay.ring.disk import Decode, DiskReader, DiskRing, DiskSource
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_tail import tail
from forebay.ring.segment import Record
from forebay.service.process import say
from forebay.wire.bsread import HeaderCache, decode, encode

if TYPE_CHECKING:
    from forebay.config import Config  # the writer starts in half the time without it

_SMALL = 65_536


def decoder() -> Decode:
    """Return what makes events of the messages in a ring."""
    cache = HeaderCache()

    def one(record: Record) -> Event:
        # bytes, for Python's collector looks at every view again and again
        parts = [bytes(part) if len(part) < _SMALL else part for part in record.parts]
        return decode(parts, cache, arrived_ns=record.time_ns)

    return one


def open_ring(directory: Path) -> DiskReader:
    """Return a reader of the ring in a directory; `RingError` if there is none."""
    return DiskReader(directory, decoder())


def bsread_on_disk(config: Config, name: str) -> PulseRange | None:
    """Return oldest to newest pulse on disk; None without a ring on disk, and while it is empty.

    Raises
    ------
    RingError
        If there is to be one, and there is none yet.
    """
    disk = config.bsread[name].disk
    return None if disk is None else open_ring(disk.directory).span


class DiskSink:
    """The ring on disk; a disk that breaks down stops neither the ring in memory nor the consumers.

    Attributes
    ----------
    refilled:
        Messages that `refill` found.
    """

    def __init__(
        self, directory: Path, max_bytes: int, max_age_s: float | None = None, group: str | None = None
    ) -> None:
        self.refilled = 0
        self._directory = directory
        self._ring = DiskRing(directory, encode, decoder(), DiskLimits(max_bytes, max_age_s), group)
        self._lost = 0

    @property
    def counters(self) -> dict[str, object]:
        """What became of the messages, and how many of an earlier run came back to memory."""
        counters = asdict(self._ring.counters)
        counters["not_written"] += self._lost
        return {"refilled": self.refilled, **counters}

    def refill(self, memory: Sink, max_messages: int, max_bytes: int) -> None:
        """Give `memory` the newest messages that are on disk, oldest first; before the first `write`."""
        follower = tail(self._directory, max_messages, max_bytes)
        if follower is None:
            return
        with closing(DiskSource(follower, decoder())) as source:
            while events := source.read(0):
                memory.write(events)
                self.refilled += len(events)

    def write(self, events: Sequence[Event]) -> None:
        """Write these; what the disk does not take is counted."""
        try:
            self._ring.write(events)
        except RingError as error:
            if not self._lost:
                say("the ring on disk takes nothing", logging.ERROR, reason=error)
            self._lost += len(events)

    def close(self) -> None:
        """Close the ring and say what was written."""
        try:
            self._ring.close()
        except ForebayError as error:
            say("the ring on disk was not closed", logging.ERROR, reason=error)
        counters = self.counters
        say("ring on disk", written=counters["written"], not_written=counters["not_written"])
