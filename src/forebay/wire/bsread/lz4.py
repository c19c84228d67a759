"""Plain LZ4 as bsread producers frame it: they agree on the block, not on what stands before it.

Python and Rust write the size as u32 little endian, the C++ IOC library as u32 big endian, Java as
i64 size and i32 block size in the byte order of the channel. All are read; the first is written.

LZ4 itself is the library inside hdf5plugin, called through ctypes, which releases the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.wire.compress import plugin_library

MAX_RATIO = 255
"""One byte of LZ4 data never stands for more bytes."""

_MAX_INPUT = 0x7E000000
_SIZE = Struct("<I")
_SIZE_BIG = Struct(">I")
_JAVA = Struct("<qi")
_JAVA_BIG = Struct(">qi")


def _declare(library: ctypes.CDLL) -> None:
    pointer, size = ctypes.c_void_p, ctypes.c_int
    library.LZ4_compressBound.argtypes = [size]
    library.LZ4_compressBound.restype = size
    for function in (library.LZ4_compress_default, library.LZ4_decompress_safe):
        function.argtypes = [pointer, pointer, size, size]
        function.restype = size


@cache
def _library() -> ctypes.CDLL:
    return plugin_library("libh5lz4.so", _declare)


def compress(data: NDArray[np.uint8]) -> bytes:
    """Return size (u32, little endian) and one LZ4 block of `data`, (byte,) and contiguous."""
    if data.size > _MAX_INPUT:
        raise WireError(f"{data.size} bytes are more than an LZ4 block holds ({_MAX_INPUT}).")
    library = _library()
    out = np.empty(_SIZE.size + library.LZ4_compressBound(data.size), np.uint8)
    _SIZE.pack_into(out.data, 0, data.size)
    n = library.LZ4_compress_default(
        data.ctypes.data, out.ctypes.data + _SIZE.size, data.size, out.size - _SIZE.size
    )
    return out[: _SIZE.size + n].tobytes()


def decompress(frame: bytes | memoryview, n_bytes: int | None = None) -> NDArray[np.uint8]:
    """Return the data of a frame of any dialect, (byte,).

    Parameters
    ----------
    frame:
        Prefix and block, contiguous.
    n_bytes:
        Length of the data where it is known; where it is not, the first dialect whose length proves
        right is taken.

    Raises
    ------
    WireError
        If no dialect fits, the length is out of reach of so few bytes, or the block is damaged.
    """
    source = np.frombuffer(frame, np.uint8)
    for size, start in _prefixes(source):
        block_bytes = source.size - start
        if (n_bytes is not None and size != n_bytes) or not 0 <= size <= min(
            block_bytes * MAX_RATIO, _MAX_INPUT
        ):
            continue
        out = np.empty(size, np.uint8)
        if (
            _library().LZ4_decompress_safe(source.ctypes.data + start, out.ctypes.data, block_bytes, size)
            == size
        ):
            return out
    expected = "" if n_bytes is None else f" of {n_bytes} bytes"
    raise WireError(f"A frame of {source.size} bytes is LZ4 data{expected} in none of the known dialects.")


def _prefixes(source: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield (size, start of the block) for each dialect, the least mistakable first."""
    for java in (_JAVA, _JAVA_BIG):
        if source.size > java.size:
            size, block = java.unpack_from(source.data)
            if size == block:
                yield size, java.size
    for plain in (_SIZE, _SIZE_BIG):
        if source.size > plain.size:
            yield plain.unpack_from(source.data)[0], plain.size
