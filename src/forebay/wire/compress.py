"""Bitshuffle-LZ4 as HDF5 filter 32008 stores it: the bytes of one image or array, compressed once.

A chunk is the length of the data (u64, big endian), the length of a block (u32, big endian, bytes) and
the stream: for each block the length of its LZ4 data (u32, big endian) and that data, then the last
``n % 8`` elements as they are. Source: bitshuffle's ``bshuf_h5filter.c`` and ``bitshuffle.h``.

The encoder is the one that hdf5plugin carries; it is called through ctypes, which releases the GIL.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from forebay.errors import ConfigError, WireError
from forebay.event import Array

FILTER = 32008
"""Number of the filter in HDF5's registry."""

BLOCK_ELEMENTS = 32_768
"""Elements of a block; larger ones are not faster on camera data, smaller ones compress less."""

MAX_BYTES = 2**32 - 1
"""Largest array: HDF5 has no larger chunks."""

Chunk = bytes | bytearray | memoryview | NDArray[np.uint8]
"""Memory that holds a chunk."""

_HEAD = Struct(">QI")
_LENGTH = Struct(">I")
_MAX_RATIO = 255  # one byte of LZ4 data never stands for more
_MAX_BLOCK_BYTES = 0x7E000000  # LZ4_MAX_INPUT_SIZE


def plugin_library(name: str, declare: Callable[[ctypes.CDLL], None]) -> ctypes.CDLL:
    """Load a library that hdf5plugin carries.

    Parameters
    ----------
    name:
        File name, e.g. ``libh5bshuf.so``.
    declare:
        Sets the types of its functions; AttributeError where one is not there.

    Raises
    ------
    ConfigError
        If hdf5plugin is not installed, or not as its wheel has it.
    """
    spec = importlib.util.find_spec("hdf5plugin")  # found, not imported: the import loads HDF5
    if spec is None or spec.origin is None:
        raise ConfigError("The package hdf5plugin is not installed.", "Run: pip install hdf5plugin")
    path = Path(spec.origin).parent / "plugins" / name
    try:
        library = ctypes.CDLL(str(path))
        declare(library)
    except (OSError, AttributeError) as error:
        raise ConfigError(
            f"The library {path} of hdf5plugin cannot be used: {error}.",
            "Reinstall hdf5plugin from its wheel.",
        ) from error
    return library


def _declare(library: ctypes.CDLL) -> None:
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    library.bshuf_compress_lz4_bound.argtypes = [size, size, size]
    library.bshuf_compress_lz4_bound.restype = size
    for function in (library.bshuf_compress_lz4, library.bshuf_decompress_lz4):
        function.argtypes = [pointer, pointer, size, size, size]
        function.restype = ctypes.c_int64


@cache
def _library() -> ctypes.CDLL:
    return plugin_library("libh5bshuf.so", _declare)


def _check_elements(n_elements: int, element_bytes: int, block_elements: int) -> None:
    if element_bytes not in (1, 2, 4, 8):
        raise WireError(f"Elements of {element_bytes} bytes cannot be compressed; 1, 2, 4 and 8 can.")
    if n_elements * element_bytes > MAX_BYTES:
        raise WireError(f"{n_elements * element_bytes} bytes are more than a chunk holds ({MAX_BYTES}).")
    if block_elements < 8 or block_elements % 8 or block_elements * element_bytes > _MAX_BLOCK_BYTES:
        raise WireError(
            f"Blocks of {block_elements} elements: allowed is a multiple of 8 up to {_MAX_BLOCK_BYTES} bytes."
        )


def bound(n_elements: int, element_bytes: int, block_elements: int = BLOCK_ELEMENTS) -> int:
    """Return the most bytes that a chunk of so many elements can take; `WireError` as in `compress`."""
    _check_elements(n_elements, element_bytes, block_elements)
    return _HEAD.size + int(_library().bshuf_compress_lz4_bound(n_elements, element_bytes, block_elements))


def compress_into(array: Array, out: NDArray[np.uint8], block_elements: int = BLOCK_ELEMENTS) -> int:
    """Compress an array into memory that is used again and again, and return the bytes used.

    Touching fresh memory costs as much as compressing: a loop over images wants this form.

    Parameters
    ----------
    array:
        Of any shape; elements of 1, 2, 4 or 8 bytes. One that is not C-contiguous is copied first.
    out:
        (byte,), contiguous, at least `bound` long.
    block_elements:
        Multiple of 8. Every reader takes it from the chunk.

    Raises
    ------
    WireError
        If the array or the block cannot be compressed or `out` is too small.
    """
    need = bound(array.size, array.itemsize, block_elements)
    if array.dtype.hasobject:
        raise WireError(f"An array of {array.dtype} has no bytes to compress.")
    if out.nbytes < need or out.dtype != np.uint8 or not out.flags.c_contiguous or not out.flags.writeable:
        raise WireError(
            f"A chunk of {array.nbytes} bytes needs a writeable buffer of {need}, not {out.nbytes}."
        )
    array = np.ascontiguousarray(array)
    _HEAD.pack_into(out.data, 0, array.nbytes, block_elements * array.itemsize)
    n = _library().bshuf_compress_lz4(
        array.ctypes.data, out.ctypes.data + _HEAD.size, array.size, array.itemsize, block_elements
    )
    if n < 0:
        raise WireError(f"Bitshuffle could not compress {array.nbytes} bytes (error {n}).")
    return _HEAD.size + int(n)


def compress(array: Array, block_elements: int = BLOCK_ELEMENTS) -> NDArray[np.uint8]:
    """Return the chunk of an array, (byte,) uint8; parameters and errors as in `compress_into`."""
    out = np.empty(bound(array.size, array.itemsize, block_elements), np.uint8)
    return out[: compress_into(array, out, block_elements)]


def decompress(chunk: Chunk, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """Return the array of a chunk.

    Nothing is allocated and no native code sees the chunk before all its lengths were found to agree
    with each other, with `shape` and with what LZ4 can reach.

    Parameters
    ----------
    chunk:
        The stored bytes, contiguous.
    shape, dtype:
        Of the result; elements of 1, 2, 4 or 8 bytes.

    Raises
    ------
    WireError
        If the chunk is not one of that shape, is cut short or does not decompress.
    """
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.hasobject or any(n < 0 for n in shape):
        raise WireError(f"No array of {kind} and shape {tuple(shape)} can be stored.")
    n_elements = math.prod(shape)
    view = memoryview(chunk.data if isinstance(chunk, np.ndarray) else chunk).cast("B")
    if len(view) < _HEAD.size:
        raise WireError(f"A compressed chunk has at least {_HEAD.size} bytes, this one {len(view)}.")
    n_bytes, block_bytes = _HEAD.unpack_from(view)
    if n_bytes != n_elements * kind.itemsize:
        raise WireError(
            f"The chunk says {n_bytes} bytes; {n_elements * kind.itemsize} are {tuple(shape)} of {kind}."
        )
    block_elements, rest = divmod(block_bytes, kind.itemsize)
    if rest:
        raise WireError(f"The chunk's blocks of {block_bytes} bytes do not hold whole elements of {kind}.")
    _check_elements(n_elements, kind.itemsize, block_elements)
    stream = np.frombuffer(view, np.uint8)[_HEAD.size :]
    _check_blocks(view[_HEAD.size :], n_elements, kind.itemsize, block_elements)
    out = np.empty(tuple(shape), kind)
    n = _library().bshuf_decompress_lz4(
        stream.ctypes.data, out.ctypes.data, n_elements, kind.itemsize, block_elements
    )
    if n != stream.size:
        raise WireError(f"The chunk of {stream.size} bytes does not decompress (bitshuffle says {n}).")
    return out


def _check_blocks(stream: memoryview, n_elements: int, element_bytes: int, block_elements: int) -> None:
    """Walk the stream by its lengths: the decoder itself does not know where its input ends."""
    n_whole, last = divmod(n_elements, block_elements)
    tail_bytes = last % 8 * element_bytes
    end = len(stream) - tail_bytes
    if (n_whole + (last >= 8)) * (_LENGTH.size + 1) > end:
        raise WireError(f"{len(stream)} bytes are too few for the blocks of {n_elements} elements.")
    whole_bytes = block_elements * element_bytes
    position = 0
    last_bytes = (last - last % 8) * element_bytes
    for block_bytes in [whole_bytes] * n_whole + [last_bytes] * (last_bytes > 0):
        if position + _LENGTH.size > end:
            raise WireError(f"The chunk ends inside the length of a block, at byte {position} of its stream.")
        (n,) = _LENGTH.unpack_from(stream, position)
        position += _LENGTH.size + n
        if position > end:
            raise WireError(f"A block of the chunk ends {position - end} bytes behind the chunk.")
        if n * _MAX_RATIO < block_bytes:
            raise WireError(f"{n} bytes of LZ4 data cannot stand for a block of {block_bytes} bytes.")
    if position != end:
        raise WireError(f"{end - position} bytes are left over behind the last block of the chunk.")
