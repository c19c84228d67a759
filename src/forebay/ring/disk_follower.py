"""Follow a disk ring from a position into the present, in any process, without the writer's help."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from forebay.ring.disk_limits import ReadCounters
from forebay.ring.segment import Record
from forebay.ring.segment_files import READ_BYTES, Segment, numbers

POLL_S: Final = 0.01
"""How often a follower that has read everything looks again."""

FOLLOW_RECORDS: Final = 16_384
"""Most records that one read of a follower returns."""


class Follower:
    """One reader's place in a disk ring; made by `RecordReader.follow`, for one thread.

    The writer need not run, and does not know. A segment that is dropped while it is being read is
    read to its end.
    """

    def __init__(self, directory: Path, number: int, wanted: int | None) -> None:
        self.counters = ReadCounters()
        self._directory = directory
        self._number = number  # of the next record to read
        self._wanted = wanted
        self._segment: Segment | None = None
        self._last_pulse = -1
        self._closed = threading.Event()

    def read(self, timeout: float) -> Sequence[Record] | None:
        """Return the next records in order of arrival; wait at most `timeout` seconds.

        ``()`` means nothing yet, None that the follower is closed.
        """
        end = time.monotonic() + timeout
        while not self._closed.is_set():
            records = self._next()
            if records:
                return records
            left = end - time.monotonic()
            if left <= 0:
                return ()
            self._closed.wait(min(POLL_S, left))
        return None

    def close(self) -> None:
        """Stop reading; a read that waits returns None."""
        self._closed.set()

    def _next(self) -> list[Record]:
        """Return some of the records that are there; an empty list once all have been read."""
        while True:
            following = [] if self._has_more() else self._following()
            if self._has_more():  # looked at again, for the old segment may have grown meanwhile
                records = self._take()
                if records:
                    return records
            elif not any(self._enter(number) for number in following):
                return []

    def _has_more(self) -> bool:
        segment = self._segment
        return segment is not None and self._number - segment.number < segment.n_entries

    def _following(self) -> list[int]:
        """Return the segments after the one that is being read, or that hold the next record."""
        there = numbers(self._directory)
        if self._segment is not None:
            return [n for n in there if n > self._segment.number]
        i_holding = max(bisect_right(there, self._number) - 1, 0)
        return there[i_holding:]

    def _enter(self, number: int) -> bool:
        """Go on with another segment, if there is something in it; records missing before it are lost."""
        try:
            segment = Segment(self._directory, number)
        except FileNotFoundError:
            return False  # dropped just now
        n_lost = number - self._number
        if n_lost > 0:
            entries = segment.entries(0, 1)
            if not len(entries):
                return False
            self._number = number
            next_pulse = int(entries["pulse_id"][0])
            wanted = self._wanted or 0
            if next_pulse > wanted or self._wanted is None:
                self.counters.lose(n_lost, max(self._last_pulse + 1, wanted), next_pulse - 1)
        self._segment = segment
        return True

    def _take(self) -> list[Record]:
        segment, number = self._segment, self._number
        assert segment is not None
        entries = segment.entries(number - segment.number, FOLLOW_RECORDS)
        is_valid = segment.valid(entries)
        whole = entries[is_valid]
        n_taken = max(1, int(np.searchsorted(np.cumsum(whole["n_bytes"]), READ_BYTES, "right")))
        if n_taken < len(whole):
            whole = whole[:n_taken]
            entries = entries[: int(np.flatnonzero(is_valid)[n_taken])]
        blocks = segment.records(whole, (number + np.flatnonzero(is_valid)[: len(whole)]).tolist())
        records = [record for block, _ in blocks for record in block]
        self.counters.damaged += len(entries) - len(records)
        self._number = number + len(entries)
        if records:
            self._last_pulse = records[-1].pulse_id
        if self._wanted is not None:
            records = self._from_wanted(records)
        return records

    def _from_wanted(self, records: list[Record]) -> list[Record]:
        for i, record in enumerate(records):
            if record.pulse_id >= (self._wanted or 0):
                self._wanted = None
                return records[i:]
        return []
