"""Journals of records of different lengths: a head as in `forebay.store.journal`, then the records.

A record is led by u32 CRC-32 of its rest, the length of its body (u32 or u64, as its format says) and u8
kind; all little endian.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final

from forebay.store.journal import AppendOnly, head_of

SHORT: Final = Struct("<IIB")
"""What leads a record whose body is shorter than 4 GiB."""

LONG: Final = Struct("<IQB")
"""What leads any record."""

_CRC_BYTES = 4


class RecordJournal(AppendOnly):
    """Appends records; raises as `AppendOnly`.

    Parameters
    ----------
    magic:
        The first bytes of the file, which name its format.
    lead:
        `SHORT` or `LONG`.
    """

    def __init__(self, path: Path, magic: bytes, recording: object, lead: Struct) -> None:
        super().__init__(path, head_of(magic, recording))
        self._lead = lead

    def _record(self, kind: int, *parts: bytes | memoryview) -> None:
        """Append a record whose body is these parts, of single bytes; all of it or nothing."""
        rest = self._lead.pack(0, sum(map(len, parts)), kind)[_CRC_BYTES:]
        crc = zlib.crc32(rest)
        for part in parts:
            crc = zlib.crc32(part, crc)
        self._append(b"".join((crc.to_bytes(_CRC_BYTES, "little"), rest, *parts)))


def is_journal(path: Path, magic: bytes) -> bool:
    """Whether a file is a journal of this format, though it may be cut short inside its head."""
    with path.open("rb") as file:
        head = file.read(len(magic))
    return len(head) > len(b"forebay ") and magic.startswith(head)


def read_records(path: Path, lead: Struct, offset: int) -> Iterator[tuple[int, bytes] | None]:
    """Yield kind and body of each record in the order of writing; None for one that is damaged or cut short.

    Parameters
    ----------
    offset:
        Where the first one begins; bytes.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = offset
        while position < len(data):
            start = position + lead.size
            if start > len(data):
                yield None
                return
            crc, n, kind = lead.unpack_from(data, position)
            if start + n > len(data):
                yield None
                return
            rest, body = data[position + _CRC_BYTES : start], data[start : start + n]
            position = start + n
            yield (kind, body) if zlib.crc32(body, zlib.crc32(rest)) == crc else None
