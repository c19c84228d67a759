"""The two files of a segment: write them, read them, finish them after their writer died."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forebay.pulse import MAX_PULSE_ID
from forebay.ring import spare
from forebay.ring.segment import (
    ENTRY,
    HEADER_BYTES,
    JOIN_BYTES,
    RECORD,
    Block,
    Entries,
    Part,
    Record,
    Summary,
    mix,
    pack_header,
    place_of,
    pulse_id_of,
    unpack,
    unpack_begun,
    unpack_header,
    unpack_one,
    where_of,
    words_of,
)
from forebay.ring.sharing import file_mode

READ_BYTES: Final = 4 * 2**20
"""How much is read at once when records follow each other on disk."""

_GAP_BYTES: Final = 64 * 2**10  # reading on over a gap costs less than another read
_IOV_MAX: Final = 1024
_NAME: Final = re.compile(r"^([0-9]{20})\.(data|index)$")


class SegmentWriter:
    """Append records to a new segment, in place of an empty one of the same number.

    Nothing here is safe for several threads.

    Parameters
    ----------
    high_pulse, high_time_ns:
        Where the pulse counter stands, see `forebay.ring.epoch.EpochCounter`; a segment without records
        remembers it, with the epoch.
    """

    def __init__(
        self, directory: Path, number: int, epoch: int, high_pulse: int = -1, high_time_ns: int = 0
    ) -> None:
        self.number = number
        self.epoch = epoch
        self.n_records = 0
        self.n_bytes = HEADER_BYTES
        self._index_bytes = 0
        self._bounds = (MAX_PULSE_ID, -1, 2**63 - 1, -(2**63))
        self._is_ascending = True
        self._unsynced_names: Path | None = directory
        self._data = _create(path(directory, number, "data"))
        try:
            header = Summary(number, epoch, -1, 0, high_pulse, 0, high_time_ns, 0)
            os.pwrite(self._data, pack_header(header), 0)
            self._index = _create(path(directory, number, "index"))
        except BaseException:
            os.close(self._data)
            raise

    def append(self, block: Block) -> None:
        """Write a block, data before index; after an `OSError` the files are as they were before."""
        try:
            _write_all(self._data, block.data, block.n_bytes, self.n_bytes)
            index = block.index(self.n_bytes)
            _write_all(self._index, [index], len(index), self._index_bytes)
        except OSError:
            os.ftruncate(self._index, self._index_bytes)
            os.ftruncate(self._data, self.n_bytes)
            raise
        self.n_bytes += block.n_bytes
        self.n_records += block.n_records
        self._index_bytes += block.n_records * ENTRY.itemsize
        low, high, low_time, high_time = self._bounds
        self._is_ascending = self._is_ascending and block.is_ascending and block.low_pulse > high
        self._bounds = (
            min(low, block.low_pulse),
            max(high, block.high_pulse),
            min(low_time, block.low_time_ns),
            max(high_time, block.high_time_ns),
        )

    def sync(self) -> None:
        """Return when everything appended so far would survive the loss of power."""
        os.fdatasync(self._data)
        os.fdatasync(self._index)
        if self._unsynced_names is not None:
            _sync_names(self._unsynced_names)
            self._unsynced_names = None

    def seal(self) -> None:
        """Sync, say in the header that the segment is finished and what it holds, and close the files."""
        try:
            self.sync()
            ascending = int(self._is_ascending)
            summary = Summary(self.number, self.epoch, self.n_records, *self._bounds, ascending)
            os.pwrite(self._data, pack_header(summary), 0)
        finally:
            self.close()

    def close(self) -> None:
        """Close the files as they are; the segment stays unsealed."""
        os.close(self._data)
        os.close(self._index)


class _PulseIds:
    """The pulse ids of an index file as a sequence that reads what is asked for."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __len__(self) -> int:
        return os.fstat(self._index).st_size // ENTRY.itemsize

    def __getitem__(self, position: int) -> int:
        return pulse_id_of(os.pread(self._index, ENTRY.itemsize, position * ENTRY.itemsize))


class Segment:
    """Read one segment, also while it is being written and after it was removed.

    Raises `FileNotFoundError` if it is not there. The files stay open as long as this object lives.
    """

    def __init__(self, directory: Path, number: int) -> None:
        self.number = number
        self._files: list[int] = []
        name = f"{directory}/{number:020d}"  # a third of the time of joining paths
        for kind in ("index", "data"):
            self._files.append(os.open(f"{name}.{kind}", os.O_RDONLY | os.O_NOFOLLOW))
        self._index, self._data = self._files
        self._loaded = np.empty(0, ENTRY)
        self._order = (np.empty(0, np.int64), np.empty(0, np.int64))
        self._n_ordered = 0
        self._size = -1
        self._sealed: Summary | None = None
        self._summed: Summary | None = None  # of an open segment, as long as it has no more entries

    def __del__(self) -> None:
        for file in self._files:
            os.close(file)

    @property
    def is_sealed(self) -> bool:
        """Whether the writer has finished this segment."""
        if self._sealed is None:
            self._sealed = unpack_header(os.pread(self._data, HEADER_BYTES, 0), self.number)
        return self._sealed is not None

    @property
    def n_entries(self) -> int:
        """How many records the index has by now, damaged ones included."""
        return os.fstat(self._index).st_size // ENTRY.itemsize

    def summary(self) -> Summary | None:
        """Return what the segment holds by now; None while that is nothing."""
        if self.is_sealed:
            return self._sealed
        entries = self.load()
        if self._summed is not None and self._summed.n_records == len(entries):
            return self._summed
        entries = entries[self.valid(entries)]
        if not len(entries):
            return None
        pulse_id, time_ns = entries["pulse_id"], entries["time_ns"]
        self._summed = Summary(
            self.number,
            int(entries["epoch"][-1]),
            len(self._loaded),
            int(pulse_id.min()),
            int(pulse_id.max()),
            int(time_ns.min()),
            int(time_ns.max()),
            int(len(entries) == len(self._loaded) and bool((pulse_id[1:] > pulse_id[:-1]).all())),
        )
        return self._summed

    def entries(self, first: int, n_entries: int) -> Entries:
        """Read at most `n_entries` entries from position `first` on."""
        raw = os.pread(self._index, n_entries * ENTRY.itemsize, first * ENTRY.itemsize)
        return np.frombuffer(raw, ENTRY, len(raw) // ENTRY.itemsize)

    def load(self) -> Entries:
        """Read all entries; kept until there are more."""
        if self.n_entries != len(self._loaded):
            self._loaded = self.entries(0, self.n_entries)
        return self._loaded

    def get(self, pulse_id: int) -> tuple[bool, Record | None]:
        """Return whether there is an undamaged entry for `pulse_id`, and its record; None if it is damaged.

        Of several the last one counts.
        """
        sealed = self._sealed if self.is_sealed else None
        if sealed is not None and sealed.is_ascending:
            position, entry = self._search(pulse_id, sealed)
            record = self._record(position, entry)
            if record is not None and record.pulse_id == pulse_id:
                return True, record  # and its entry is as good: it led there, and holds the same
            place = place_of(entry, self._data_bytes)
            if place is not None and place[0] == pulse_id:
                return True, None
        found = self._find(pulse_id)
        return found is not None, None if found is None else self._record(found, self._entry(found))

    def _find(self, pulse_id: int) -> int | None:
        """Return the position of the last valid record of `pulse_id`; None if there is none."""
        entries = self.load()
        if self._n_ordered != len(entries):
            positions = np.flatnonzero(self.valid(entries))
            pulse_ids = entries["pulse_id"][positions]
            order = np.argsort(pulse_ids, kind="stable")
            self._order = pulse_ids[order], positions[order]
            self._n_ordered = len(entries)
        pulse_ids, positions = self._order
        i = int(np.searchsorted(pulse_ids, pulse_id, "right")) - 1
        return int(positions[i]) if i >= 0 and pulse_ids[i] == pulse_id else None

    def _entry(self, position: int) -> bytes:
        return os.pread(self._index, ENTRY.itemsize, position * ENTRY.itemsize)

    def _record(self, position: int, entry: bytes) -> Record | None:
        """Read the record of an entry, itself perhaps damaged; None if they do not agree."""
        where = where_of(entry, self._data_bytes)
        if where is None:
            return None
        offset, n_bytes = where
        return unpack_one(spare.read(self._data, n_bytes, offset), entry, self.number + position)

    @property
    def _data_bytes(self) -> int:
        """Size of the data file, which changes no more once the segment is sealed."""
        if self._sealed is None:
            return os.fstat(self._data).st_size
        if self._size < 0:
            self._size = os.fstat(self._data).st_size
        return self._size

    def _search(self, pulse_id: int, summary: Summary) -> tuple[int, bytes]:
        """Return where a pulse id is, or would be, and the entry there.

        First where it is if none is missing, then by halves.
        """
        _, _, n, low, high, *_ = summary
        guess = (pulse_id - low) * (n - 1) // (high - low or 1)
        first, stop = 0, n
        if 0 <= guess < n:
            entry = self._entry(guess)
            there = pulse_id_of(entry)
            if there == pulse_id:
                return guess, entry
            first, stop = (guess, n) if there < pulse_id else (0, guess)
        position = bisect_left(_PulseIds(self._index), pulse_id, first, stop)
        return position, self._entry(position)

    def valid(self, entries: Entries) -> NDArray[np.bool_]:
        """Return which entries are undamaged and point into the data."""
        data_bytes = os.fstat(self._data).st_size
        offset, n_bytes = entries["offset"], entries["n_bytes"]
        valid: NDArray[np.bool_] = (
            (entries["mix"] == mix(words_of(entries)))
            & (offset >= HEADER_BYTES)
            & (n_bytes >= RECORD.itemsize)
            & (n_bytes <= data_bytes)
            & (offset <= data_bytes - n_bytes)
            & (entries["pulse_id"] >= 0)
        )
        return valid

    def records(self, entries: Entries, numbers: Sequence[int]) -> Iterator[tuple[Iterator[Record], int]]:
        """Read the records of valid `entries`, in this order: blocks of whole ones, how many are damaged.

        `numbers` are the numbers that the records get.
        """
        offset = entries["offset"]
        end = offset + entries["n_bytes"]
        gap = offset[1:] - end[:-1]
        runs = [0, *(np.flatnonzero((gap < 0) | (gap > _GAP_BYTES)) + 1).tolist(), len(entries)]
        for first, stop in pairwise(runs):
            while first < stop:
                base = int(offset[first])
                last = int(np.searchsorted(end[first:stop], base + READ_BYTES, "right")) + first
                last = max(last, first + 1)
                block = spare.read(self._data, int(end[last - 1]) - base, base)
                yield unpack(block, base, entries[first:last], numbers[first:last])
                first = last


def numbers(directory: Path, kind: str = "index") -> list[int]:
    """Return the numbers of the segments in a directory, rising; `FileNotFoundError` if it is not there."""
    return sorted(int(m[1]) for m in map(_NAME.match, os.listdir(directory)) if m and m[2] == kind)  # noqa: PTH208 - names are all that is wanted


def begun(directory: Path, number: int) -> Summary | None:
    """Return what a segment said when it was begun; None if it was sealed or its header is damaged.

    `Summary.epoch`, `Summary.high_pulse` and `Summary.high_time_ns` then say where the counter stood.
    """
    with path(directory, number, "data").open("rb") as file:
        return unpack_begun(file.read(HEADER_BYTES), number)


def foreign(directory: Path) -> set[str]:
    """Return the names of the files in a directory that are no segments."""
    return {name for name in os.listdir(directory) if not _NAME.match(name)}  # noqa: PTH208


def path(directory: Path, number: int, kind: str) -> Path:
    """Return the path of a segment's ``data`` or ``index`` file."""
    return directory / f"{number:020d}.{kind}"


def remove(directory: Path, number: int) -> None:
    """Remove a segment. Readers that have it open keep it until they let go."""
    path(directory, number, "index").unlink(missing_ok=True)
    path(directory, number, "data").unlink(missing_ok=True)


def _create(where: Path) -> int:
    file = os.open(where, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    os.fchmod(file, file_mode(where.parent))
    return file


def _sync_names(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _write_all(file: int, buffers: Sequence[Part], n_bytes: int, offset: int) -> None:
    if n_bytes < JOIN_BYTES * len(buffers):
        buffers = [b"".join(buffers)]
    for i in range(0, len(buffers), _IOV_MAX):
        group = buffers[i : i + _IOV_MAX]
        group_bytes = sum(memoryview(part).nbytes for part in group)
        written = os.pwritev(file, group, offset)
        while written < group_bytes:
            written += os.pwrite(file, memoryview(b"".join(group))[written:], offset + written)
        offset += group_bytes
