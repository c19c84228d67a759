"""The journal beside a file in the making: enough to find every image again after a crash.

HDF5 cannot be read before it was closed, but the chunk of an image lies in it as it will stay. So after
each chunk one record is appended here that says where it lies and what belongs to it. The file is a
head (magic, u32 length, u32 CRC-32, JSON of a `Recording`) and records of one size, each led by the
CRC-32 of its rest; all little endian. What a crash tears is told by its CRC.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.store.manifest import Recording

_MAGIC = b"forebay journal 1\n"
_HEAD_BYTES = Struct("<II")
_MAX_JSON_BYTES = 64 * 2**20

_R = TypeVar("_R")


def record_type(recording: Recording) -> np.dtype[np.void]:
    """Return the dtype of the records of this recording; `StoreError` if a header field has no fixed size."""
    header = np.dtype([(name, kind) for name, kind in recording.header])
    if any(header[name].kind not in "uif" for name in header.names or ()):
        raise StoreError(f"The header of {recording.source} has fields that are not numbers: {header}.")
    modules = (recording.n_modules,)
    return np.dtype(
        [
            ("crc", "<u4"),
            ("status", "u1"),
            ("pulse_id", "<u8"),
            ("time_ns", "<u8"),
            ("offset", "<u8"),  # of the chunk in the part, bytes
            ("size", "<u8"),  # of the chunk, bytes
            ("checksum", "<u8"),  # xxh3_64 of the chunk
            ("missing_packets", "<u4", modules),
            ("header", header, modules),
        ]
    )


class AppendOnly:
    """A file that only grows; holds a lock, so that nobody recovers a file that is being written.

    Parameters
    ----------
    head:
        Written, and synced, before anything else.

    Raises
    ------
    OSError
        From every method, if the system refuses; the file then holds what it held before.
    """

    def __init__(self, path: Path, head: bytes) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._bytes = 0
        try:
            self._append(head)
            os.fsync(self._fd)
        except OSError:
            self.close()
            path.unlink()
            raise

    def _append(self, data: bytes | memoryview) -> None:
        try:
            n = os.write(self._fd, data)
            while n < len(data):  # a full disk takes a part; the next attempt says why
                n += os.write(self._fd, data[n:])
        except OSError:
            os.ftruncate(self._fd, self._bytes)
            raise
        self._bytes += len(data)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Journal(AppendOnly):
    """Appends a record for each image; raises as `AppendOnly`."""

    def __init__(self, path: Path, recording: Recording) -> None:
        super().__init__(path, head_of(_MAGIC, recording))

    def append(self, record: NDArray[np.void]) -> None:
        """Append one record, shape (1,) of `record_type`; its CRC is filled in."""
        view = record.view(np.uint8).data
        record["crc"] = zlib.crc32(view[4:])
        self._append(view)


@dataclass(frozen=True)
class Journalled:
    """What a journal says.

    Attributes
    ----------
    records:
        (image,) of `record_type`, in the order of writing; those that pass their CRC.
    n_torn:
        Records that do not; a torn one at the end counts.
    """

    recording: Recording
    records: NDArray[np.void]
    n_torn: int


class HeadlessError(StoreError):
    """A journal that ends inside its head: its recorder died before it made any other file."""


def head_of(magic: bytes, recording: object) -> bytes:
    """Return the head of a journal: `magic`, u32 length, u32 CRC-32, JSON of `recording`."""
    text = msgspec.json.encode(recording)
    return magic + _HEAD_BYTES.pack(len(text), zlib.crc32(text)) + text


def read_head(path: Path, magic: bytes, kind: type[_R]) -> tuple[_R, int]:
    """Return what `head_of` was given, and the length of the head; bytes. Raises as `read_journal`."""
    size = len(magic) + _HEAD_BYTES.size
    with path.open("rb") as file:
        head = file.read(size)
        n, crc = _HEAD_BYTES.unpack(head.ljust(size, b"\0")[len(magic) :])
        if not magic.startswith(head[: len(magic)]) or n > _MAX_JSON_BYTES:
            raise StoreError(f"{path} is not a journal of forebay.")
        text = file.read(n)
    if len(head) < size or len(text) < n:
        raise HeadlessError(f"The journal {path} ends inside its head.")
    if zlib.crc32(text) != crc:
        raise StoreError(f"The head of the journal {path} is damaged.")
    try:
        return msgspec.json.decode(text, type=kind), size + n
    except msgspec.DecodeError as error:
        raise StoreError(f"The head of the journal {path} cannot be read: {error}.") from error


def read_journal(path: Path) -> Journalled:
    """Read a journal, also one that is being appended to.

    Raises
    ------
    HeadlessError
        If it ends inside its head.
    StoreError
        If it is no journal.
    OSError
        If it cannot be read.
    """
    recording, n = read_head(path, _MAGIC, Recording)
    records, rest = _records(path, record_type(recording), n)
    good = np.fromiter((_is_whole(record) for record in records), bool, len(records))
    n_torn = int(np.count_nonzero(~good)) + (rest > 0)
    return Journalled(recording, records[good] if n_torn else records, n_torn)


def records_of(path: Path, recording: Recording) -> NDArray[np.void]:
    """Return all records of a journal that was just written, mapped from the file."""
    return _records(path, record_type(recording), len(head_of(_MAGIC, recording)))[0]


def _records(path: Path, kind: np.dtype[np.void], offset: int) -> tuple[NDArray[np.void], int]:
    n, rest = divmod(path.stat().st_size - offset, kind.itemsize)
    if not n:
        return np.empty(0, kind), rest
    return np.memmap(path, kind, "r", offset, (n,)), rest


def _is_whole(record: Any) -> bool:
    data = record.tobytes()
    return bool(zlib.crc32(memoryview(data)[4:]) == record["crc"])
