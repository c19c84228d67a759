"""Files of channels read back, pulse after pulse: ours, the original's, and those of the data API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import h5py
import hdf5plugin  # noqa: F401 - registers the filter that images need
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.event import Array, Event

_BLOCK_BYTES: Final = 64 * 2**20
_PULSE_NS: Final = 10_000_000  # of the 100 Hz that pulse ids count, where a file has no times


class ChannelSource:
    """The channels of a file: every group that has ``data`` and ``pulse_id``, below ``/data`` or the root.

    Raises
    ------
    StoreError
        If the file cannot be read or holds no channel.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise StoreError(f"{path} cannot be read as HDF5: {error}.") from error
        root = self._file["data"] if isinstance(self._file.get("data"), h5py.Group) else self._file
        self._groups = {
            name: group
            for name, group in root.items()
            if isinstance(group, h5py.Group) and {"data", "pulse_id"} <= group.keys()
        }
        if not self._groups:
            self.close()
            raise StoreError(f"{path} holds no channel.", "A channel is a group with data and pulse_id.")

    def events(self) -> Iterator[Event]:
        """Yield an event for each pulse id of any channel, rising; the file is closed at the end."""
        try:
            rows = {name: _present_rows(group) for name, group in self._groups.items()}
            all_ids = np.unique(np.concatenate([ids for ids, _ in rows.values()]))
            blocks = {name: _Block(group) for name, group in self._groups.items()}
            for pulse_id in all_ids.tolist():
                arrays: dict[str, Array] = {}
                time_ns = None
                for name, (ids, at) in rows.items():
                    i = int(np.searchsorted(ids, pulse_id))
                    if i < len(ids) and ids[i] == pulse_id:
                        arrays[name], own_ns = blocks[name].row(int(at[i]))
                        time_ns = own_ns if time_ns is None else time_ns
                yield Event(
                    self.path.name,
                    pulse_id,
                    pulse_id * _PULSE_NS % 2**62 if time_ns is None else time_ns,
                    arrays,
                    np.zeros(0, np.uint32),
                )
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


class _Block:
    """Some rows of a channel, read together."""

    def __init__(self, group: h5py.Group) -> None:
        self._data = group["data"]
        self._times = group.get("timestamp")
        row_bytes = int(np.prod(self._data.shape[1:])) * max(self._data.dtype.itemsize, 16)
        self._n = max(1, min(1000, _BLOCK_BYTES // len(self._data.chunks or (1,)) // max(row_bytes, 1)))
        self._first = -1
        self._values: Array = np.zeros(0)
        self._own_ns: NDArray[np.int64] | None = None
        self._is_text = h5py.check_string_dtype(self._data.dtype) is not None

    def row(self, i: int) -> tuple[Array, int | None]:
        first = i // self._n * self._n
        if first != self._first:
            self._first = first
            self._values = self._data[first : first + self._n]
            self._own_ns = None if self._times is None else self._times[first : first + self._n]
        value = self._values[i - first]
        if self._is_text:
            text = np.ravel(value)[0]
            value = np.array([text.decode() if isinstance(text, bytes) else str(text)])
        return np.atleast_1d(value), None if self._own_ns is None else int(np.ravel(self._own_ns)[i - first])


def _present_rows(group: h5py.Group) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pulse ids, rising and each once, and the rows that hold them."""
    ids = np.ravel(group["pulse_id"][:]).astype(np.int64)[: len(group["data"])]
    at = np.arange(len(ids))
    present = group.get("is_data_present")
    if present is not None and len(present) >= len(ids):
        at = at[np.ravel(present[: len(ids)]).astype(bool)]
    unique, first = np.unique(ids[at], return_index=True)
    return unique, at[first]
