"""The journal beside a file of readouts in the making: every readout as it came, until the file is whole.

A head as in `forebay.store.journal`, then records: u32 CRC-32 of the rest, u32 length of the body, u8 kind,
body; little endian. The body of kind 0 is rows of `JOURNALLED`, of kind 1 rows of
`forebay.store.readout_layout.ROW_TELESCOPE`.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from forebay.store import readout_layout as layout
from forebay.store.journal import AppendOnly, head_of, read_head
from forebay.store.readout_layout import ReadoutRecording
from forebay.wire.ssreadout import READOUT

_MAGIC = b"forebay readouts 1\n"
_RECORD = Struct("<IIB")
_CRC_BYTES = 4
_READOUTS, _TELESCOPE = 0, 1

JOURNALLED: np.dtype[np.void] = np.dtype([*layout.ROW_A.descr, ("arrived_ns", "<u8")])
"""What either table needs of a readout; amplitudes as the tables have them."""


class ReadoutJournal(AppendOnly):
    """Appends readouts; raises as `AppendOnly`."""

    def __init__(self, path: Path, recording: ReadoutRecording) -> None:
        super().__init__(path, head_of(_MAGIC, recording))

    def append(self, readouts: NDArray[np.void]) -> None:
        """Append readouts, (readout,) of `READOUT`: all of them or none."""
        rows = np.empty(len(readouts), JOURNALLED)
        rows["data"] = readouts["data"]
        rows["readout_number"] = readouts["number"]
        rows["ro_time"] = readouts["time_ns"]
        rows["time_stamps"] = readouts["timestamps"]
        rows["arrived_ns"] = readouts["arrived_ns"]
        self._record(_READOUTS, rows)

    def append_telescope(self, rows: NDArray[np.void]) -> None:
        """Append rows of `ROW_TELESCOPE`."""
        self._record(_TELESCOPE, rows)

    def _record(self, kind: int, rows: NDArray[np.void]) -> None:
        body = rows.view(np.uint8).reshape(-1)
        head = bytearray(_RECORD.pack(0, body.nbytes, kind))
        crc = zlib.crc32(body.data, zlib.crc32(head[_CRC_BYTES:]))
        head[:_CRC_BYTES] = crc.to_bytes(_CRC_BYTES, "little")
        record = np.empty(len(head) + body.nbytes, np.uint8)
        record[: len(head)] = head
        record[len(head) :] = body
        self._append(record.data)


def is_readout_journal(path: Path) -> bool:
    """Whether a file is a journal of readouts, though it may be cut short inside its head."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    return len(head) > len(b"forebay ") and _MAGIC.startswith(head)


class ReadoutJournalReader:
    """Reads the journal of a recorder that was killed.

    Raises
    ------
    forebay.store.journal.HeadlessError
        If it ends inside its head.
    forebay.errors.StoreError
        If it is no journal.
    OSError
        If it cannot be read.

    Attributes
    ----------
    n_torn:
        Records that fail their CRC, or are cut short at the end, among those read so far.
    telescope:
        Rows of the telescope's table read so far.
    """

    def __init__(self, path: Path) -> None:
        self.recording, self._head_bytes = read_head(path, _MAGIC, ReadoutRecording)
        self.n_torn = 0
        self.telescope: list[NDArray[np.void]] = []
        self._path = path

    def __iter__(self) -> Iterator[NDArray[np.void]]:
        """Yield the readouts of every record that is whole, in the order of writing."""
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            position = self._head_bytes
            while position < len(data):
                start = position + _RECORD.size
                if start > len(data):
                    self.n_torn += 1
                    return
                crc, n, kind = _RECORD.unpack_from(data, position)
                if start + n > len(data):
                    self.n_torn += 1
                    return
                rest, body = data[position + _CRC_BYTES : start], data[start : start + n]
                position = start + n
                if zlib.crc32(body, zlib.crc32(rest)) != crc:
                    self.n_torn += 1
                elif kind == _TELESCOPE:
                    self.telescope.append(np.frombuffer(body, layout.ROW_TELESCOPE))
                else:
                    yield _readouts(np.frombuffer(body, JOURNALLED))


def _readouts(rows: NDArray[np.void]) -> NDArray[np.void]:
    readouts = np.zeros(len(rows), READOUT)
    readouts["data"] = rows["data"]
    readouts["number"] = rows["readout_number"]
    readouts["time_ns"] = rows["ro_time"]
    readouts["timestamps"] = rows["time_stamps"]
    readouts["arrived_ns"] = rows["arrived_ns"]
    return readouts
