"""The journal beside a LArPix file in the making: the messages of every block as they came.

The file is as `forebay.store.record_journal` says, with `LONG` records. Kind 0 is a block: MessagePack of
source, number, ns since 1970, io group, version of the chips and u32 lengths, then its messages behind a u32
that says how long that is. Kind 1 is a note: MessagePack of unix seconds and text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct

import msgspec
import numpy as np

from forebay.event import Event
from forebay.store.journal import read_head
from forebay.store.larpix_manifest import LarpixRecording
from forebay.store.record_journal import LONG, RecordJournal, is_journal, read_records
from forebay.wire.pacman_batch import PacmanArrays

_MAGIC = b"forebay larpix 1\n"
_LENGTH = Struct("<I")
_BLOCK, _NOTE = 0, 1
_NO_MODULES = np.zeros(0, np.uint32)

Note = tuple[int, str]
"""Unix seconds, text."""


class LarpixJournal(RecordJournal):
    """Appends blocks and notes; raises as `RecordJournal`."""

    def __init__(self, path: Path, recording: LarpixRecording) -> None:
        super().__init__(path, _MAGIC, recording, LONG)

    def append(self, event: Event, arrays: PacmanArrays) -> None:
        """Append the messages of an event."""
        about = (event.source, event.pulse_id, event.time_ns, arrays.io_group, arrays.asic_version)
        head = msgspec.msgpack.encode((*about, arrays.lengths.astype("<u4").tobytes()))
        self._record(_BLOCK, _LENGTH.pack(len(head)), head, arrays.data)

    def note(self, note: Note) -> None:
        """Append a text."""
        self._record(_NOTE, msgspec.msgpack.encode(note))


def is_larpix_journal(path: Path) -> bool:
    """Whether a file is a journal of LArPix messages, though it may be cut short inside its head."""
    return is_journal(path, _MAGIC)


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
        for record in read_records(self._path, LONG, self._head_bytes):
            if record is None:
                self.n_torn += 1
            elif record[0] == _NOTE:
                yield msgspec.msgpack.decode(record[1], type=tuple[int, str])
            else:
                yield _event(record[1])


def _event(body: bytes) -> Event:
    (n,) = _LENGTH.unpack_from(body)
    start = _LENGTH.size + n
    source, number, time_ns, io_group, asic_version, lengths = msgspec.msgpack.decode(
        body[_LENGTH.size : start], type=tuple[str, int, int, int, str, bytes]
    )
    arrays = PacmanArrays(body[start:], np.frombuffer(lengths, "<u4"), io_group, asic_version)
    return Event(source, number, time_ns, arrays, _NO_MODULES)
