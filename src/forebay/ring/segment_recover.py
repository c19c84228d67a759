"""Finishing a segment of a disk ring whose writer died."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from forebay.ring.segment import ENTRY, HEADER_BYTES, RECORD, Summary, mix, pack_header, words_of
from forebay.ring.segment_files import Segment, path
from forebay.ring.sharing import file_mode


def recover(directory: Path, number: int) -> Summary | None:
    """Finish a segment whose writer died: cut a torn tail, index whole records that are not, seal it.

    Only the one writer of the ring may do this. Returns None if there is no whole record.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW
    data = os.open(path(directory, number, "data"), flags)
    try:
        index = os.open(path(directory, number, "index"), flags | os.O_CREAT, 0o600)
        try:
            os.fchmod(index, file_mode(directory))
            return _recover(directory, number, data, index)
        finally:
            os.close(index)
    finally:
        os.close(data)


def _recover(directory: Path, number: int, data: int, index: int) -> Summary | None:
    segment = Segment(directory, number)
    sealed = segment.summary() if segment.is_sealed else None
    if sealed is not None and sealed.n_records == segment.n_entries:
        last = segment.entries(segment.n_entries - 1, 1)
        if segment.valid(last).all():
            return sealed
    age = os.fstat(index)
    n_entries, end = _whole(segment)
    more, end = _scan(data, end)
    os.ftruncate(index, n_entries * ENTRY.itemsize)
    os.pwrite(index, more, n_entries * ENTRY.itemsize)
    os.ftruncate(data, end)
    if segment.is_sealed:
        os.pwrite(data, bytes(HEADER_BYTES), 0)  # what the header says no longer holds
    os.fdatasync(data)
    os.fdatasync(index)
    os.utime(index, ns=(age.st_atime_ns, age.st_mtime_ns))  # the ring drops by this time
    summary = Segment(directory, number).summary()
    if summary is not None:
        os.pwrite(data, pack_header(summary), 0)
    return summary


def _whole(segment: Segment) -> tuple[int, int]:
    """Return how many entries of the index to keep, and where the record of the last of them ends."""
    entries = segment.load()
    for i in np.flatnonzero(segment.valid(entries))[::-1]:
        last = entries[i : i + 1]
        _, n_damaged = next(segment.records(last, [0]))
        if not n_damaged:
            return int(i) + 1, int(last["offset"][0] + last["n_bytes"][0])
    return 0, HEADER_BYTES


def _scan(data: int, offset: int) -> tuple[bytes, int]:
    """Return entries for the whole records from `offset` on, and where they end."""
    data_bytes = os.fstat(data).st_size
    found = []
    while len(head := os.pread(data, RECORD.itemsize, offset)) == RECORD.itemsize:
        checksum, n_bytes = struct.unpack_from("<Qq", head)
        if n_bytes < RECORD.itemsize or n_bytes % 8 or n_bytes > data_bytes - offset:
            break
        if xxh3_64_intdigest(os.pread(data, n_bytes - 8, offset + 8)) != checksum:
            break
        found.append(offset.to_bytes(8, "little") + head + bytes(8))
        offset += n_bytes
    entries = np.frombuffer(bytearray(b"".join(found)), ENTRY)
    entries["mix"] = mix(words_of(entries))
    return entries.tobytes(), max(offset, HEADER_BYTES)
