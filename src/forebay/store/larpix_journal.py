"""The journal beside a LArPix file in the making: the messages of every block as they came.

The file is a head as in `forebay.store.journal` and records, each led by u32 CRC-32 of its rest, u64 length
of its body and u8 kind; all little endian. Kind 0 is a block: MessagePack of source, number, ns since 1970,
io group, version of the chips and u32 lengths, then its messages behind a u32 that says how long that is.
Kind 1 is a note: MessagePack of unix seconds and text.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

import msgspec
import numpy as np

from forebay.event import Event
from forebay.store.journal import AppendOnly, head_of, read_head
from forebay.store.larpix_manifest import LarpixRecording
from forebay.wire.pacman_batch import PacmanArrays

_MAGIC = b"forebay larpix 1\n"
_RECORD = Struct("<IQB")
_LENGTH = Struct("<I")
_CRC_BYTES = 4
_BLOCK, _NOTE = 0, 1
_NO_MODULES = np.zeros(0, np.uint32)

Note = tuple[int, str]
"""Unix seconds, text."""


class LarpixJournal(AppendOnly):
    """Appends blocks and notes; raises as `AppendOnly`."""

    def __init__(self, path: Path, recording: LarpixRecording) -> None:
        super().__init__(path, head_of(_MAGIC, recording))

    def append(self, event: Event, arrays: PacmanArrays) -> None:
        """Append the messages of an event."""
        about = (event.source, event.pulse_id, event.time_ns, arrays.io_group, arrays.asic_version)
        head = msgspec.msgpack.encode((*about, arrays.lengths.astype("<u4").tobytes()))
        self._record(_BLOCK, _LENGTH.pack(len(head)) + head, arrays.data)

    def note(self, note: Note) -> None:
        """Append a text."""
        self._record(_NOTE, msgspec.msgpack.encode(note))

    def _record(self, kind: int, head: bytes, data: bytes = b"") -> None:
        rest = _RECORD.pack(0, len(head) + len(data), kind)[_CRC_BYTES:]
        crc = zlib.crc32(data, zlib.crc32(head, zlib.crc32(rest)))
        self._append(b"".join((crc.to_bytes(_CRC_BYTES, "little"), rest, head, data)))


def is_larpix_journal(path: Path) -> bool:
    """Whether a file is a journal of LArPix messages, though it may be cut short inside its head."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    return len(head) > len(b"forebay ") and _MAGIC.startswith(head)


class JournalReader:
    """Reads the journal of a recorder that was killed; raises as `forebay.store.journal.read_journal`."""

    def __init__(self, path: Path) -> None:
        self.recording, self._head_bytes = read_head(path, _MAGIC, LarpixRecording)
        self.n_torn = 0
        """Records that fail their CRC, or are cut short at the end, among those read so far."""
        self._path = path

    def __iter__(self) -> Iterator[Event | Note]:
        """Yield every block and note that is whole, in the order of writing."""
        self.n_torn = 0
        n_left = self._path.stat().st_size - self._head_bytes
        with self._path.open("rb") as file:
            file.seek(self._head_bytes)
            while n_left:
                head = file.read(_RECORD.size)
                n_left -= _RECORD.size
                crc, n, kind = _RECORD.unpack(head) if n_left >= 0 else (0, 1, 0)
                if n > n_left:
                    self.n_torn += 1
                    return
                body = file.read(n)
                n_left -= n
                if zlib.crc32(body, zlib.crc32(head[_CRC_BYTES:])) != crc:
                    self.n_torn += 1
                elif kind == _NOTE:
                    yield msgspec.msgpack.decode(body, type=tuple[int, str])
                else:
                    yield _event(body)


def _event(body: bytes) -> Event:
    (n,) = _LENGTH.unpack_from(body)
    start = _LENGTH.size + n
    source, number, time_ns, io_group, asic_version, lengths = msgspec.msgpack.decode(
        body[_LENGTH.size : start], type=tuple[str, int, int, int, str, bytes]
    )
    arrays = PacmanArrays(body[start:], np.frombuffer(lengths, "<u4"), io_group, asic_version)
    return Event(source, number, time_ns, arrays, _NO_MODULES)
