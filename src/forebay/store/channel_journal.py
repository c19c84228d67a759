"""The journal beside a file of channels in the making: the frames of every message as they came.

The file is as `forebay.store.record_journal` says, with `LONG` records. Kind 0 is a data header, MessagePack
of its number, compression and frame; kind 1 a message: u64 pulse id, i64 ns since 1970, u32 number of its
header, u32 number of frames, then for each frame an i64 length, then the frames. Length -1 is an image that
lies in the part: u64 offset, u64 size and u64 xxh3_64 of its chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec
import numpy as np

from forebay.errors import WireError
from forebay.store.channel_manifest import ChannelRecording
from forebay.store.journal import read_head
from forebay.store.record_journal import LONG, RecordJournal, is_journal, read_records
from forebay.wire.bsread import Frame, Header
from forebay.wire.bsread.header import decode_header

_MAGIC = b"forebay channels 1\n"
_MESSAGE = Struct("<QqII")
_STORED = Struct("<QQQ")
_HEADER_KIND, _MESSAGE_KIND = 0, 1


@dataclass(frozen=True, slots=True)
class Stored:
    """An image that lies in the file as a chunk: where, how many bytes, and their xxh3_64."""

    offset: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes
    ----------
    frames:
        Value and timestamp of every channel of its header; an image may be stored already.
    n_bytes:
        What it costs to keep it, roughly.
    """

    header: Header
    pulse_id: int
    time_ns: int
    frames: Sequence[Frame] | Sequence[Frame | Stored]
    has_images: bool = False
    n_bytes: int = 0


class ChannelJournal(RecordJournal):
    """Appends headers and messages; raises as `RecordJournal`."""

    def __init__(self, path: Path, recording: ChannelRecording) -> None:
        super().__init__(path, _MAGIC, recording, LONG)
        self._n_headers = 0

    def announce(self, header: Header) -> int:
        """Append a data header and return the number by which messages name it."""
        number = self._n_headers
        self._record(_HEADER_KIND, msgspec.msgpack.encode((number, header.compression, header.frame)))
        self._n_headers += 1
        return number

    def append(self, message: Message, number: int) -> None:
        """Append a message; `number` is that of its header."""
        head = _MESSAGE.pack(message.pulse_id, message.time_ns, number, len(message.frames))
        frames: Sequence[Any] = message.frames
        if message.has_images:
            lengths = [-1 if isinstance(one, Stored) else len(one) for one in frames]
            frames = [_bytes_of(one) if isinstance(one, Stored) else one for one in frames]
        else:
            lengths = list(map(len, frames))
        self._record(_MESSAGE_KIND, b"".join((head, np.array(lengths, "<i8").tobytes(), *frames)))


def _bytes_of(stored: Stored) -> bytes:
    return _STORED.pack(stored.offset, stored.size, stored.checksum)


def is_channel_journal(path: Path) -> bool:
    """Whether a file is a journal of channels, though it may be cut short inside its head."""
    return is_journal(path, _MAGIC)


class JournalReader:
    """Reads the journal of a recorder that was killed.

    Raises
    ------
    forebay.store.journal.HeadlessError
        If it ends inside its head.
    forebay.errors.StoreError
        If it is no journal.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.recording, self._head_bytes = read_head(path, _MAGIC, ChannelRecording)
        self.n_torn = 0
        """Records that fail their CRC, or are cut short at the end, among those read so far."""
        self._path = path

    def __iter__(self) -> Iterator[Message]:
        """Yield every message that is whole, in the order of writing."""
        self.n_torn = 0
        headers: dict[int, Header] = {}
        for record in read_records(self._path, LONG, self._head_bytes):
            if record is None:
                self.n_torn += 1
                continue
            kind, body = record
            if kind == _HEADER_KIND:
                number, compression, frame = msgspec.msgpack.decode(body, type=tuple[int, str | None, bytes])
                try:
                    headers[number] = decode_header(frame, compression)
                except WireError:  # the recorder could read it, so that this is damage
                    self.n_torn += 1
            elif (message := _message(body, headers)) is not None:
                yield message
            else:
                self.n_torn += 1


def _message(body: bytes, headers: dict[int, Header]) -> Message | None:
    pulse_id, time_ns, number, n_frames = _MESSAGE.unpack_from(body)
    header = headers.get(number)
    if header is None:
        return None  # its header was torn
    lengths = np.frombuffer(body, "<i8", n_frames, _MESSAGE.size).tolist()
    position = _MESSAGE.size + 8 * n_frames
    frames: list[Frame | Stored] = []
    has_images = min(lengths, default=0) < 0
    for n in lengths:
        end = position + (_STORED.size if n < 0 else n)
        frames.append(Stored(*_STORED.unpack_from(body, position)) if n < 0 else body[position:end])
        position = end
    return Message(header, pulse_id, time_ns, frames, has_images)
