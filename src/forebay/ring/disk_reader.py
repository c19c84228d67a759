"""Read a disk ring from any process, while it is written: by pulse id, by time, or following it."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forebay.errors import AbsentError, RingError
from forebay.pulse import PulseRange
from forebay.ring import segment_files
from forebay.ring.disk_follower import Follower
from forebay.ring.disk_limits import ReadCounters
from forebay.ring.memory import Start, missing
from forebay.ring.segment import Record, Summary
from forebay.ring.segment_files import Segment

_OPEN_SEGMENTS: Final = 16  # few, because an open segment keeps its space on the disk after it was dropped

_SETTLED_NS: Final = 50_000_000  # a change within the same tick of the clock leaves the time as it was


class RecordReader:
    """Read records of the ring in `directory`; any thread may call.

    Pulse ids count in the newest epoch only, times in all of them. Of a repeated pulse id the newest
    record wins. What is handed out was checked against its checksum.

    Raises
    ------
    RingError
        If there is no ring in the directory or it cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = str(directory)
        self.counters = ReadCounters()
        self._segments: OrderedDict[int, Segment] = OrderedDict()
        self._sealed: dict[int, Summary] = {}
        self._epoch = 0
        self._listed: list[int] = []
        self._summed: list[int] | None = None
        self._finished: list[Summary] = []  # of the first of those, as far as they are sealed
        self._listed_ns = -1
        self._lock = threading.Lock()
        with self._lock:
            self._summaries()

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id of the newest epoch; None while the ring is empty."""
        with self._lock:
            return _span(self._summaries())

    @property
    def epoch(self) -> int:
        """The newest epoch, the last one that was seen where everything has expired; 0 for a new ring."""
        with self._lock:
            summaries = self._summaries()
            self._epoch = summaries[-1].epoch if summaries else self._epoch
            return self._epoch

    @property
    def epochs(self) -> dict[int, PulseRange]:
        """Oldest to newest pulse id of each epoch that is there."""
        with self._lock:
            summaries = self._summaries()
        spans = {s.epoch: _span([t for t in summaries if t.epoch == s.epoch]) for s in summaries}
        return {epoch: span for epoch, span in spans.items() if span is not None}

    @property
    def time_span(self) -> tuple[int, int] | None:
        """Oldest and newest time in ns, of all epochs; None while the ring is empty."""
        with self._lock:
            summaries = self._summaries()
        if not summaries:
            return None
        return min(s.low_time_ns for s in summaries), max(s.high_time_ns for s in summaries)

    def get(self, pulse_id: int) -> Record:
        """Return the record of `pulse_id`; errors as in `forebay.ports.Ring.get`, each names the span.

        A damaged record is absent too, and the error says so.
        """
        with self._lock:
            summaries = self._summaries()
            newest = summaries[-1].epoch if summaries else 0
            for number, epoch, _, low, high, *_ in reversed(summaries):
                if not low <= pulse_id <= high or epoch != newest:
                    continue
                segment = self._segment(number)
                if segment is None:
                    continue
                is_there, record = segment.get(pulse_id)
                if record is not None:
                    return record
                if is_there:
                    self.counters.damaged += 1
                    span = _span(summaries)
                    raise AbsentError(
                        f"The record of pulse {pulse_id} is damaged on disk: the ring holds {span}."
                    )
            raise missing(pulse_id, _span(self._summaries()))

    def read(self, pulses: PulseRange, epoch: int | None = None) -> Iterator[Record]:
        """Yield the records of these pulses that are there, by rising pulse id.

        What expires while this goes on is counted in `counters.lost`.

        Parameters
        ----------
        epoch:
            Another epoch than the newest.
        """
        return chain.from_iterable(self._read(pulses, epoch))

    def _read(self, pulses: PulseRange, epoch: int | None) -> Iterator[Iterator[Record]]:
        with self._lock:
            summaries = self._summaries()
        if summaries and epoch is None:
            epoch = summaries[-1].epoch
        chosen = [
            s
            for s in summaries
            if s.epoch == epoch and s.low_pulse <= pulses.last and s.high_pulse >= pulses.first
        ]
        group: list[Summary] = []  # segments that share pulse ids, because some came late
        high = -1
        for summary in sorted(chosen, key=lambda s: s.low_pulse):
            if summary.low_pulse > high:
                yield from self._read_group(sorted(group), pulses)
                group = []
            group.append(summary)
            high = max(high, summary.high_pulse)
        yield from self._read_group(sorted(group), pulses)

    def read_time(self, first_ns: int, last_ns: int) -> Iterator[Record]:
        """Yield the records of this time, ends included, in order of arrival; otherwise as `read`."""
        return chain.from_iterable(self._read_time(first_ns, last_ns))

    def _read_time(self, first_ns: int, last_ns: int) -> Iterator[Iterator[Record]]:
        with self._lock:
            summaries = self._summaries()
        for summary in summaries:
            if summary.high_time_ns < first_ns or summary.low_time_ns > last_ns:
                continue
            with self._lock:
                segment = self._segment(summary.number)
            if segment is None:
                self._lose(summary)
                continue
            entries = segment.load()
            time_ns = entries["time_ns"]
            chosen = np.flatnonzero(segment.valid(entries) & (time_ns >= first_ns) & (time_ns <= last_ns))
            yield from self._take(segment, chosen)

    def follow(self, start: Start = "oldest") -> Follower:
        """Return a follower: first what is there, then what comes, in order of arrival.

        Parameters
        ----------
        start:
            ``"oldest"`` or ``"newest"``: the first record read is the oldest or newest that is there
            (or the next to come). A pulse id: the first record read is the first at or above it.

        Raises
        ------
        OverwrittenError
            If `start` is a pulse id that has left the ring.
        """
        with self._lock:
            summaries = self._summaries()
            span = _span(summaries)
        if not summaries:
            first = max(self._numbers(), default=0)
            return Follower(self.directory, first, None if isinstance(start, str) else start)
        newest = summaries[-1]
        if start == "oldest":
            return Follower(self.directory, summaries[0].number, None)
        if start == "newest":
            return Follower(self.directory, newest.number + newest.n_records - 1, None)
        if span is not None and start < span.first:
            raise missing(start, span)
        for summary in summaries:
            if summary.epoch == newest.epoch and summary.high_pulse >= start:
                return Follower(self.directory, summary.number, start)
        return Follower(self.directory, newest.number + newest.n_records, start)

    def _summaries(self) -> Sequence[Summary]:
        """Return what each segment holds, oldest first, but for empty ones."""
        numbers = self._numbers()
        if numbers is not self._summed:
            for gone in (self._sealed.keys() | self._segments.keys()) - set(numbers):
                self._sealed.pop(gone, None)
                self._segments.pop(gone, None)
            self._summed, self._finished = numbers, []
        n_finished = len(self._finished)
        if n_finished == len(numbers):
            return self._finished
        found = self._finished.copy()
        for i, number in enumerate(numbers[n_finished:], n_finished):
            summary = self._sealed.get(number)
            if summary is None:
                segment = self._segment(number)
                summary = segment.summary() if segment is not None else None
                if summary is not None and segment is not None and segment.is_sealed:
                    self._sealed[number] = summary
            if summary is not None:
                found.append(summary)
            if number in self._sealed and len(self._finished) == i:
                self._finished.append(found[-1])  # so are all before it: none of them changes any more
        return found

    def _numbers(self) -> list[int]:
        """Return the numbers of the segments; the directory is read only if it has changed."""
        try:
            changed_ns = os.stat(self._path).st_mtime_ns  # noqa: PTH116 - a third of the time
            if changed_ns != self._listed_ns:
                is_settled = time.time_ns() - changed_ns > _SETTLED_NS
                self._listed = segment_files.numbers(self.directory)
                self._listed_ns = changed_ns if is_settled else -1
            return self._listed
        except OSError as error:
            raise RingError(
                f"There is no disk ring to read in {self.directory}: {error}.",
                "Start its writer first, or correct the path.",
            ) from error

    def _segment(self, number: int) -> Segment | None:
        """Return a segment, kept open among the last few; None if it has expired."""
        segment = self._segments.pop(number, None)
        if segment is None:
            try:
                segment = Segment(self.directory, number)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise RingError(f"The disk ring {self.directory} cannot be read: {error}.") from error
        self._segments[number] = segment
        if len(self._segments) > _OPEN_SEGMENTS:
            self._segments.popitem(last=False)  # closed when its last user lets go
        return segment

    def _read_group(self, group: Sequence[Summary], pulses: PulseRange) -> Iterator[Iterator[Record]]:
        """Read segments that are given in order of arrival; of a repeated pulse id the last."""
        pulse_ids: list[NDArray[np.int64]] = []
        places: list[tuple[Segment, NDArray[np.int64]]] = []
        for summary in group:
            with self._lock:
                segment = self._segment(summary.number)
            if segment is None:
                self._lose(summary, pulses)
                continue
            entries = segment.load()
            pulse_id = entries["pulse_id"]
            inside = (pulse_id >= pulses.first) & (pulse_id <= pulses.last) & (pulse_id % pulses.step == 0)
            chosen = np.flatnonzero(segment.valid(entries) & inside)
            places.append((segment, chosen))
            pulse_ids.append(pulse_id[chosen])
        if not places:
            return
        joined = np.concatenate(pulse_ids)
        order = np.argsort(joined, kind="stable")
        joined = joined[order]
        is_newest = np.ones(len(joined), np.bool_)
        is_newest[:-1] = joined[1:] != joined[:-1]
        order = order[is_newest]
        where = np.concatenate([np.full(len(chosen), i) for i, (_, chosen) in enumerate(places)])[order]
        position = np.concatenate([chosen for _, chosen in places])[order]
        cuts = [0, *(np.flatnonzero(where[1:] != where[:-1]) + 1).tolist(), len(where)]
        for first, stop in pairwise(cuts):
            if first < stop:
                yield from self._take(places[where[first]][0], position[first:stop])

    def _take(self, segment: Segment, positions: NDArray[np.int64]) -> Iterator[Iterator[Record]]:
        entries = segment.load()[positions]
        for records, n_damaged in segment.records(entries, (positions + segment.number).tolist()):
            self.counters.damaged += n_damaged
            yield records

    def _lose(self, summary: Summary, pulses: PulseRange | None = None) -> None:
        first, last = summary.low_pulse, summary.high_pulse
        if pulses is not None:
            first, last = max(first, pulses.first), min(last, pulses.last)
        self.counters.lose(min(summary.n_records, last - first + 1), first, last)


def _span(summaries: Sequence[Summary]) -> PulseRange | None:
    """Return the pulse ids of the newest epoch."""
    newest = [s for s in summaries if s.epoch == summaries[-1].epoch]
    if not newest:
        return None
    return PulseRange(min(s.low_pulse for s in newest), max(s.high_pulse for s in newest))
