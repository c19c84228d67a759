"""The rows of one channel in its file: values of one type and shape, and the columns beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from forebay.event import Array
from forebay.store.channel_layout import (
    CHECKSUM,
    ChannelLayout,
    Column,
    Definition,
    column_options,
    data_options,
)
from forebay.store.chunks import Chunks

_DATASET_BYTES = 4096  # of headers and index, generously
_ROW_BYTES = 64  # of index and columns


class ChannelRows:
    """A channel's group: ``data`` and its columns, written in blocks.

    HDF5's and the system's errors (OSError, RuntimeError) pass through. Space must have been taken
    before: `room_bytes` for a new one.

    Parameters
    ----------
    parent, name:
        Where the group is made.
    """

    def __init__(self, parent: h5py.Group, name: str, layout: ChannelLayout, definition: Definition) -> None:
        self.definition = definition
        self.n = 0
        """Rows that have all their columns."""
        self.n_chunks = 0
        """Images stored; their columns follow with the block."""
        group = parent.create_group(name)
        self.path = str(group.name)
        self.data = group.create_dataset("data", **data_options(layout, definition))
        self.columns = columns_of(layout, definition)
        self._columns = {
            column.name: group.create_dataset(column.name, **column_options(layout, column))
            for column in self.columns
        }
        self._rows = 0  # that the dataset of images has, a step ahead of them

    def store(self, chunks: Chunks, chunk: NDArray[np.uint8]) -> int:
        """Write the chunk of the next image and return its offset in the file; bytes."""
        if self.n_chunks == self._rows:
            self._rows += 256
            self.data.resize(self._rows, axis=0)
        offset = chunks.write(self.data, self.n_chunks, chunk)
        self.n_chunks += 1
        return offset

    def append(self, values: Array | None, columns: Mapping[str, Array]) -> None:
        """Append a block of rows.

        Parameters
        ----------
        values:
            (row, ...); None for images, which are stored already.
        columns:
            By name, (row,) each.
        """
        end = self.n + len(columns["pulse_id"])
        if values is not None:
            self.data.resize(end, axis=0)
            self.data[self.n : end] = values.reshape(end - self.n, *self.definition.shape)
        for column in self.columns:
            dataset = self._columns[column.name]
            dataset.resize(end, axis=0)
            dataset[self.n : end] = columns[column.name].reshape(-1, *dataset.shape[1:])
        self.n = end

    def cut(self, last_pulse: int) -> None:
        """Leave out the rows behind a pulse; nothing may be appended afterwards."""
        ids = self._columns["pulse_id"][...].reshape(-1)
        self.n = int(np.searchsorted(ids, last_pulse, "right"))
        for dataset in (self.data, *self._columns.values()):
            dataset.resize(self.n, axis=0)

    def trim(self) -> None:
        """Leave out images that have no columns, and rows that were made ahead of need."""
        if self.definition.kind == "image":
            self.data.resize(self.n, axis=0)


def columns_of(layout: ChannelLayout, definition: Definition) -> tuple[Column, ...]:
    """Return the columns beside values of this kind: images have a checksum too."""
    return (*layout.columns, CHECKSUM) if definition.kind == "image" else layout.columns


def room_bytes(layout: ChannelLayout, definition: Definition) -> int:
    """Return the bytes that a channel takes in the file at most, before its first row."""
    options = [column_options(layout, column) for column in columns_of(layout, definition)]
    if definition.kind != "image":
        options.append(data_options(layout, definition))
    chunks = sum(math.prod(one["chunks"]) * _item_bytes(np.dtype(one["dtype"])) for one in options)
    return int(chunks) + (len(options) + 3) * _DATASET_BYTES


def _item_bytes(dtype: np.dtype[Any]) -> int:
    return 16 if dtype.hasobject else dtype.itemsize  # text is kept elsewhere


def row_bytes(n_columns: int) -> int:
    """Return the bytes that a row takes at most, beside those of its value."""
    return _ROW_BYTES + 16 * n_columns
