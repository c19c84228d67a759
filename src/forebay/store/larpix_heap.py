"""Messages of a raw file read from where HDF5 keeps them, many at once.

HDF5 hands out values of variable length one by one. On disk such a value is a reference (length, address of a
collection of the global heap, index in it); a collection has its objects one behind the other, each behind a
header of its own. Whole stretches of a collection are read here, and every header is compared with its
reference: what is not as expected is left to HDF5. Source: HDF5 File Format Specification, III.E (global
heap) and VIII.C (variable length).
"""

from __future__ import annotations

import os
import zlib
from itertools import pairwise
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError

_REFERENCE: Final = np.dtype([("length", "<u4"), ("collection", "<u8"), ("index", "<u4")])
_COLLECTION_BYTES: Final = 16  # "GCOL", version, three bytes, u64 size
_OBJECT_BYTES: Final = 16  # u16 index, u16 references, four bytes, u64 size
_LEAST_TOGETHER: Final = 8
Index = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class UnlikeError(StoreError):
    """The file is not laid out as expected, or in pieces too small to be worth it; HDF5 can read it."""


def read_values(dataset: h5py.Dataset, start: int, end: int) -> tuple[Bytes, Index]:
    """Return bytes and lengths of the values `start` to before `end` of a dataset of vlen u1.

    Raises
    ------
    UnlikeError
        If they are not where they are expected.
    """
    is_simple = dataset.compression in (None, "gzip") and dataset.chunks is not None
    is_bytes = h5py.check_vlen_dtype(dataset.dtype) == np.uint8
    if not is_simple or not is_bytes or dataset.shuffle or dataset.fletcher32:
        raise UnlikeError("other filters")
    references = _references(dataset, start, end)
    lengths: Index = references["length"].astype(np.int64)
    n_bytes = int(lengths.sum())
    if not n_bytes:
        return np.empty(0, np.uint8), lengths
    file = dataset.file
    if file.driver != "sec2":
        raise UnlikeError("no file on a disk")
    try:
        descriptor = file.id.get_vfd_handle()
        if n_bytes > os.fstat(descriptor).st_size:  # before there is memory for them
            raise UnlikeError("more bytes than the file has")
        data = np.empty(n_bytes, np.uint8)
        _fill(data, references[lengths > 0], descriptor, file.userblock_size)
    except OSError as error:
        raise UnlikeError("not readable") from error
    return data, lengths


def _references(dataset: h5py.Dataset, start: int, end: int) -> NDArray[np.void]:
    size = dataset.chunks[0]
    n_bytes = size * _REFERENCE.itemsize
    is_packed = dataset.compression is not None
    parts = []
    for first in range(start - start % size, end, size):
        try:
            mask, chunk = dataset.id.read_direct_chunk((first,))
            if is_packed and not mask & 1:
                chunk = zlib.decompressobj().decompress(chunk, n_bytes + 1)
        except (OSError, RuntimeError, zlib.error) as error:
            raise UnlikeError("a chunk") from error
        if len(chunk) != n_bytes:
            raise UnlikeError("a chunk of another size")
        parts.append(chunk[max(start - first, 0) * _REFERENCE.itemsize : (end - first) * _REFERENCE.itemsize])
    return np.frombuffer(b"".join(parts), _REFERENCE)


def _fill(data: Bytes, references: NDArray[np.void], descriptor: int, base: int) -> None:
    """Read the values of all references into `data`, stretch by stretch: neighbours in one collection."""
    collections = references["collection"].astype(np.int64) + base
    lengths = references["length"].astype(np.int64)
    indices = references["index"].astype(np.int64)
    cuts = np.flatnonzero((np.diff(collections) != 0) | (np.diff(indices) != 1)) + 1
    if (len(cuts) + 1) * _LEAST_TOGETHER > len(references) + _LEAST_TOGETHER * _LEAST_TOGETHER:
        raise UnlikeError("a few values in each collection")
    bounds = [0, *cuts.tolist(), len(references)]
    ends = np.cumsum(lengths)
    begins = ends - lengths
    for first, last in pairwise(bounds):
        own = lengths[first:last]
        stretch = _stretch(descriptor, int(collections[first]), int(indices[first]), own)
        _take(data[begins[first] : ends[last - 1]], stretch, indices[first:last], own)


def _stretch(descriptor: int, collection: int, index: int, lengths: Index) -> Bytes:
    """Return the objects of a collection from `index` on, with their headers, as long as all together."""
    n_bytes = int((_OBJECT_BYTES + (lengths + 7) // 8 * 8).sum())
    size = _size(descriptor, collection)
    n_read = _COLLECTION_BYTES + n_bytes if index == 1 else size
    found = os.pread(descriptor, min(n_read, size), collection)
    at = _COLLECTION_BYTES
    while index != 1 and at + _OBJECT_BYTES <= len(found):
        if int.from_bytes(found[at : at + 2], "little") == index:
            break
        at += _OBJECT_BYTES + (int.from_bytes(found[at + 8 : at + 16], "little") + 7) // 8 * 8
    stretch = np.frombuffer(found, np.uint8)[at : at + n_bytes]
    if stretch.size != n_bytes:
        raise UnlikeError("a collection that is shorter")
    return stretch


def _size(descriptor: int, collection: int) -> int:
    """Return the bytes of a collection with its header; all of them are in the file."""
    head = os.pread(descriptor, _COLLECTION_BYTES, collection)
    size = int.from_bytes(head[8:], "little")
    if head[:5] != b"GCOL\x01" or size > os.fstat(descriptor).st_size - collection:
        raise UnlikeError("no collection")
    return size


def _take(out: Bytes, stretch: Bytes, indices: Index, lengths: Index) -> None:
    """Copy the values of a stretch without their headers, which are checked."""
    length = int(lengths[0])
    step = _OBJECT_BYTES + (length + 7) // 8 * 8
    if stretch.size == step * len(lengths) and (lengths == length).all():
        objects = stretch.reshape(len(lengths), step)
        _check(objects[:, :_OBJECT_BYTES], indices, lengths)
        out.reshape(len(lengths), length)[:] = objects[:, _OBJECT_BYTES : _OBJECT_BYTES + length]
        return
    steps = _OBJECT_BYTES + (lengths + 7) // 8 * 8
    places = np.cumsum(steps) - steps
    _check(np.lib.stride_tricks.sliding_window_view(stretch, _OBJECT_BYTES)[places], indices, lengths)
    unit = 1 if (lengths % 8).any() else 8
    n = lengths // unit
    shift = (places + _OBJECT_BYTES) // unit - (np.cumsum(n) - n)
    words = stretch.view(f"u{unit}")
    out.view(words.dtype)[:] = words[np.repeat(shift, n) + np.arange(int(n.sum()))]


def _check(headers: Bytes, indices: Index, lengths: Index) -> None:
    halves = np.ascontiguousarray(headers).view("<u8").reshape(-1, 2)
    is_next = (halves[:, 0] & np.uint64(0xFFFF)) == indices.astype(np.uint64)
    if not (is_next & (halves[:, 1] == lengths.astype(np.uint64))).all():
        raise UnlikeError("objects in another order")
