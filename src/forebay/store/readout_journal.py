"""The journal beside a file of readouts in the making: every readout as it came, until the file is whole.

The file is as `forebay.store.record_journal` says, with `SHORT` records. The body of kind 0 is rows of
`JOURNALLED`, of kind 1 rows of `forebay.store.readout_layout.ROW_TELESCOPE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.store import readout_layout as layout
from forebay.store.journal import read_head
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.record_journal import SHORT, RecordJournal, is_journal, read_records
from forebay.wire.ssreadout import READOUT

_MAGIC = b"forebay readouts 1\n"
_READOUTS, _TELESCOPE = 0, 1

JOURNALLED: np.dtype[np.void] = np.dtype([*layout.ROW_A.descr, ("arrived_ns", "<u8")])
"""What either table needs of a readout; amplitudes as the tables have them."""


class ReadoutJournal(RecordJournal):
    """Appends readouts; raises as `RecordJournal`."""

    def __init__(self, path: Path, recording: ReadoutRecording) -> None:
        super().__init__(path, _MAGIC, recording, SHORT)

    def append(self, readouts: NDArray[np.void]) -> None:
        """Append readouts, (readout,) of `READOUT`: all of them or none."""
        rows = np.empty(len(readouts), JOURNALLED)
        rows["data"] = readouts["data"]
        rows["readout_number"] = readouts["number"]
        rows["ro_time"] = readouts["time_ns"]
        rows["time_stamps"] = readouts["timestamps"]
        rows["arrived_ns"] = readouts["arrived_ns"]
        self._record(_READOUTS, rows.view(np.uint8).reshape(-1).data)

    def append_telescope(self, rows: NDArray[np.void]) -> None:
        """Append rows of `ROW_TELESCOPE`."""
        self._record(_TELESCOPE, rows.view(np.uint8).reshape(-1).data)


def is_readout_journal(path: Path) -> bool:
    """Whether a file is a journal of readouts, though it may be cut short inside its head."""
    return is_journal(path, _MAGIC)


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
        for record in read_records(self._path, SHORT, self._head_bytes):
            if record is None:
                self.n_torn += 1
            elif record[0] == _TELESCOPE:
                self.telescope.append(np.frombuffer(record[1], layout.ROW_TELESCOPE))
            else:
                yield _readouts(np.frombuffer(record[1], JOURNALLED))


def _readouts(rows: NDArray[np.void]) -> NDArray[np.void]:
    readouts = np.zeros(len(rows), READOUT)
    readouts["data"] = rows["data"]
    readouts["number"] = rows["readout_number"]
    readouts["time_ns"] = rows["ro_time"]
    readouts["timestamps"] = rows["time_stamps"]
    readouts["arrived_ns"] = rows["arrived_ns"]
    return readouts
