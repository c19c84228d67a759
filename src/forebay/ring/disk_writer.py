"""The one writer of a disk ring: append, sync, and drop what is too old or too much."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.errors import RingError
from forebay.pulse import MAX_PULSE_ID
from forebay.ring import segment_files
from forebay.ring.disk_limits import DiskCounters, DiskLimits
from forebay.ring.epoch import EpochCounter
from forebay.ring.segment import ENTRY, HEADER_BYTES, MAX_PART_BYTES, MAX_PARTS, Block, Part
from forebay.ring.segment_files import SegmentWriter
from forebay.ring.segment_recover import recover
from forebay.ring.sharing import share

BLOCK_BYTES: Final = 8 * 2**20
SEGMENT_RECORDS: Final = 2**18
"""Most records of a segment, so that an index stays below 15 MB."""

LOCK: Final = "lock"
_MAX_TIME_NS: Final = 2**63 - 1
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class _Kept:
    number: int
    n_records: int
    n_bytes: int
    written_ns: int  # wall clock of the last write


class RecordWriter:
    """Append records to the ring in `directory`, which is made if it is not there, for this user only.

    What `write` has returned from survives the death of this process. What `counters.synced` counts
    survives the loss of power as well; `sync` waits until that is everything. A thread of its own
    syncs, seals and drops by age. A ring that was written before is continued in a new segment, after
    its last segment was finished (see `forebay.ring.segment_recover.recover`).

    Parameters
    ----------
    group:
        Name or number of a group that may read the ring as well, from now on.

    Raises
    ------
    RingError
        If the ring has another writer, the directory holds other files, or it cannot be written.
    """

    def __init__(self, directory: Path, limits: DiskLimits, group: str | None = None) -> None:
        self.directory = directory
        self.limits = limits
        self.counters = DiskCounters()
        self._lock = _lock(directory)
        try:
            if group is not None:
                share(directory, group)
            self._kept, self._next, self._epochs = _recover(directory)
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, OSError):
                raise RingError(f"The disk ring {directory} cannot be continued: {error}.") from error
            raise
        self._open: SegmentWriter | None = None
        self._opened = 0.0
        self._kept_bytes = sum(kept.n_bytes for kept in self._kept)
        self._sync_wanted = 0
        self._finished: list[SegmentWriter] = []  # to be synced and sealed
        self._is_sealing = False
        self._unsynced_bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._keep, name=f"ring {directory.name}", daemon=True)
        self._thread.start()

    @property
    def n_bytes(self) -> int:
        """Bytes of all segments."""
        with self._changed:
            return self._kept_bytes

    def write(self, records: Iterable[tuple[int, int, Sequence[Part]]]) -> None:
        """Append records: pulse id, time in ns, parts. Each is counted as in `DiskCounters`.

        Any thread may call. The records of one call are written together, so give many small ones at
        once. Waits while the disk is behind by more than `DiskLimits.unsynced_bytes`.

        Raises
        ------
        RingError
            If the ring is closed, or the system refuses for another reason than a full disk.
        """
        with self._changed:
            self._check_open()
            block = Block(self._epochs.epoch)
            room = min(BLOCK_BYTES, self.limits.segment_bytes)
            for pulse_id, time_ns, parts in records:
                if not self._acceptable(pulse_id, time_ns, parts):
                    self.counters.refused += 1
                    continue
                epoch = self._epochs.place(pulse_id, time_ns)
                if epoch != block.epoch or block.n_bytes >= room or block.n_records >= SEGMENT_RECORDS:
                    self._put(block)
                    block = Block(epoch)
                block.add(pulse_id, time_ns, parts)
            self._put(block)

    def sync(self) -> None:
        """Return when everything written so far would survive a loss of power."""
        with self._changed:
            wanted = self._sync_wanted = self.counters.written
            errors = self.counters.sync_errors
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self.counters.synced >= wanted or self.counters.sync_errors > errors or self._closed
            )
            if self.counters.synced < wanted:
                raise RingError(f"The disk ring {self.directory} is not synced: {self.counters.last_error}.")

    def drop_old(self) -> None:
        """Drop the segments that are older than `DiskLimits.max_age_s`; the ring does it by itself."""
        if self.limits.max_age_s is None:
            return
        with self._changed:
            oldest = time.time_ns() - int(self.limits.max_age_s * 1e9)
            while self._kept and self._kept[0].n_records and self._kept[0].written_ns < oldest:
                if len(self._kept) == 1:
                    self._begin(self._epochs.epoch)  # it remembers number and epoch
                self._drop_oldest()

    def close(self) -> None:
        """Sync and seal everything and let another writer in; may be called twice."""
        with self._changed:
            self._finish()
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _acceptable(self, pulse_id: int, time_ns: int, parts: Sequence[Part]) -> bool:
        if not 0 <= pulse_id <= MAX_PULSE_ID or abs(time_ns) > _MAX_TIME_NS or len(parts) > MAX_PARTS:
            return False
        n_bytes = 0
        for part in parts:
            part_bytes = len(part) if type(part) is bytes else memoryview(part).nbytes
            if part_bytes > MAX_PART_BYTES:
                return False
            n_bytes += part_bytes
        return n_bytes <= self.limits.max_bytes // 2

    def _put(self, block: Block) -> None:
        """Write one block; on a full disk drop the oldest segments for it, or count it as not written."""
        if not block.n_records:
            return
        self._check_open()
        counters = self.counters
        n_bytes = block.n_bytes + block.n_records * ENTRY.itemsize
        while True:
            try:
                segment = self._segment_for(block)
                while len(self._kept) > 1 and self._kept_bytes + n_bytes > self.limits.max_bytes:
                    self._drop_oldest()
                segment.append(block)
                break
            except OSError as error:
                if error.errno not in _FULL:
                    raise RingError(f"The disk ring {self.directory} cannot be written: {error}.") from error
                counters.disk_full += 1
                counters.last_error = str(error)
            self._wait_for_seals()
            if len(self._kept) <= 1:  # the last one stays: it remembers number and epoch
                counters.not_written += block.n_records
                return
            self._drop_oldest()
        kept = self._kept[-1]
        kept.n_records += block.n_records
        kept.n_bytes += n_bytes
        kept.written_ns = time.time_ns()
        self._kept_bytes += n_bytes
        self._next += block.n_records
        counters.written += block.n_records
        counters.written_bytes += block.n_bytes
        self._unsynced_bytes += n_bytes
        self._wait_for_disk()

    def _wait_for_seals(self) -> None:
        """Let the ring's thread close its files: dropping one that is open would free nothing."""
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._closed or not (self._finished or self._is_sealing))
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise RingError(f"The disk ring {self.directory} is closed and takes no records.")

    def _wait_for_disk(self) -> None:
        if self._unsynced_bytes >= self.limits.sync_bytes:
            self._changed.notify_all()
        if self._unsynced_bytes > self.limits.unsynced_bytes:
            self.counters.stalls += 1
            begin = time.monotonic_ns()
            self._changed.wait_for(lambda: self._unsynced_bytes <= self.limits.unsynced_bytes)
            self.counters.stall_ns += time.monotonic_ns() - begin

    def _segment_for(self, block: Block) -> SegmentWriter:
        segment = self._open
        if (
            segment is None
            or segment.epoch != block.epoch
            or segment.n_bytes + block.n_bytes > max(self.limits.segment_bytes, HEADER_BYTES + block.n_bytes)
            or segment.n_records + block.n_records > SEGMENT_RECORDS
            or time.monotonic() - self._opened > self.limits.segment_s
        ):
            segment = self._begin(block.epoch)
        return segment

    def _begin(self, epoch: int) -> SegmentWriter:
        self._finish()
        high, time_ns = self._epochs.high, self._epochs.time_ns
        segment = SegmentWriter(self.directory, self._next, epoch, high, time_ns)
        self._open, self._opened = segment, time.monotonic()
        self._kept.append(_Kept(self._next, 0, segment.n_bytes, time.time_ns()))
        self._kept_bytes += segment.n_bytes
        return segment

    def _finish(self) -> None:
        if self._open is None:
            return
        if self._open.n_records:
            self._finished.append(self._open)
            self._changed.notify_all()
        else:  # the next segment gets its number and takes its place
            self._open.close()
            self._kept_bytes -= self._kept.pop().n_bytes
        self._open = None

    def _drop_oldest(self) -> None:
        segment_files.remove(self.directory, self._kept[0].number)
        kept = self._kept.popleft()
        self._kept_bytes -= kept.n_bytes
        self.counters.expired += kept.n_records

    def _keep(self) -> None:
        """Sync, seal and drop by age until the ring is closed; the body of the ring's own thread."""
        while not self._keep_once():
            self._note(_try(self.drop_old))

    def _keep_once(self) -> bool:
        with self._changed:
            self._changed.wait_for(self._is_sync_due, self.limits.sync_s)
            closed = self._closed
            finished, self._finished, self._is_sealing = self._finished, [], True
            current, written, n_bytes = self._open, self.counters.written, self._unsynced_bytes
            self._sync_wanted = 0
        error = ""
        for segment in finished:
            error = _try(segment.seal) or error
        if current is not None and n_bytes:
            error = _try(current.sync) or error
        with self._changed:
            self._is_sealing = False
            self._unsynced_bytes -= n_bytes
            if not error:
                self.counters.synced = written
            self._note(error)
            self._changed.notify_all()
        return closed

    def _is_sync_due(self) -> bool:
        return (
            self._closed
            or bool(self._finished)
            or self._unsynced_bytes >= self.limits.sync_bytes
            or self._sync_wanted > self.counters.synced
        )

    def _note(self, error: str) -> None:
        if error:
            self.counters.sync_errors += 1
            self.counters.last_error = error


def _try(act: Callable[[], None]) -> str:
    """Return what the system said against it, or nothing."""
    try:
        act()
    except OSError as error:
        return str(error)
    return ""


def _lock(directory: Path) -> int:
    """Make the directory if need be and become its one writer; return the lock's file."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        foreign = segment_files.foreign(directory) - {LOCK}
        if foreign:
            raise RingError(
                f"{directory} holds other files than a disk ring's, such as {min(foreign)}.",
                "Give the ring a directory of its own.",
            )
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RingError(f"The disk ring {directory} cannot be opened: {error}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raw = os.pread(lock, 20, 0)
        os.close(lock)
        pid = raw.decode() if raw.isdigit() else "(unknown)"
        raise RingError(
            f"The disk ring {directory} is being written by process {pid}.",
            "A ring has one writer; stop that one or choose another directory.",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _recover(directory: Path) -> tuple[deque[_Kept], int, EpochCounter]:
    """Finish what a writer that died has left; return the segments, the next number and the epoch."""
    kept: deque[_Kept] = deque()
    following, epochs = 0, EpochCounter()
    last = max(segment_files.numbers(directory, "data"), default=0)
    for number in segment_files.numbers(directory, "data"):
        summary = recover(directory, number)
        if summary is None:
            following = number
            begun = segment_files.begun(directory, number)
            if begun is not None:
                epochs = EpochCounter(begun.epoch, begun.high_pulse, begun.high_time_ns)
            if number != last:
                segment_files.remove(directory, number)
            continue
        following = number + summary.n_records
        epochs = EpochCounter(summary.epoch, summary.high_pulse, summary.high_time_ns)
        index = segment_files.path(directory, number, "index").stat()
        n_bytes = index.st_size + segment_files.path(directory, number, "data").stat().st_size
        kept.append(_Kept(number, summary.n_records, n_bytes, index.st_mtime_ns))
    for number in set(segment_files.numbers(directory)) - set(segment_files.numbers(directory, "data")):
        segment_files.remove(directory, number)  # killed between the two files
    return kept, following, epochs
