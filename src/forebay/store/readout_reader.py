"""Files of readouts read back, whichever version of SSDAQ or forebay wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers bzip2, in which the original packs its tables
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.store import readout_layout as layout
from forebay.store.readout_layout import Generation

_BLOCK = 512  # readouts that are read together


def generation_of(table: h5py.Dataset) -> Generation:
    """Return whose table it is; `StoreError` if it has columns that none of them has."""
    names = table.dtype.names or ()
    rows: dict[Generation, Any] = {"A": layout.ROW_A, "B": layout.ROW_B, "old": layout.ROW_OLD}
    for generation, row in rows.items():
        if set(row.names) <= set(names):
            return generation
    raise StoreError(
        f"The table {table.name} has the columns {', '.join(names) or '-'}: none of SSDAQ's tables.",
        "Name a file of readouts.",
    )


class ReadoutReader:
    """An open file of readouts.

    Raises
    ------
    StoreError
        If it is not there, not HDF5, or holds no table of readouts; also from reading, if it is damaged.

    Attributes
    ----------
    generation:
        ``A``, ``B`` or ``old``.
    attributes:
        Of the table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error}.", "Name a file of readouts.") from error
        try:
            table = self._file.get(layout.TABLE)
            if not isinstance(table, h5py.Dataset):
                raise StoreError(f"{path} has no {layout.TABLE}.", "Name a file of readouts.")
            self._table = table
            self.generation = generation_of(table)
            self.attributes: dict[str, Any] = {
                name: value.decode() if isinstance(value, bytes) else value
                for name, value in table.attrs.items()
            }
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return int(self._table.shape[0])

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return rows as the table has them, `stop` excluded."""
        try:
            rows: NDArray[np.void] = self._table[start : len(self) if stop is None else stop]
        except (OSError, RuntimeError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}.", "Use another copy.") from error
        return rows

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return (readout,) of `forebay.wire.ssreadout.READOUT`, `stop` excluded."""
        return layout.to_readouts(self.rows(start, stop), self.generation)

    def __iter__(self) -> Iterator[NDArray[np.void]]:
        """Yield all readouts in blocks of some hundreds."""
        for start in range(0, len(self), _BLOCK):
            yield self.read(start, start + _BLOCK)

    def telescope(self) -> NDArray[np.void]:
        """Return the rows of the telescope's table (generation B); none where there is no such table."""
        table = self._file.get(layout.TELESCOPE)
        rows: NDArray[np.void] = table[...] if table is not None else np.empty(0, layout.ROW_TELESCOPE)
        return rows

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        self._file.close()
