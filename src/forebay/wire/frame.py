"""Frames of SSDAQ 0.9: named objects of any kinds, one behind the other, and a trailer that says which.

The trailer is the end of each object (u4), a line ``key,class,module`` for each, then length of that text,
number of objects and place of the trailer (u4 each), little endian. Classes are names here: nothing is
imported by what a frame says, and nothing unpickled. Arrays are in the format of ``.npy`` files, as class
``ndarray`` of module ``numpy``; the original had them in a format that no pyarrow reads any more.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from forebay.errors import WireError

_END: Final = struct.Struct("<3I")
_MOST_BYTES: Final = 2**32 - 1
_NOT_IN_NAMES: Final = ",\n"

ARRAY: Final = ("ndarray", "numpy")
"""Class and module of an array."""


class Part(NamedTuple):
    """One object of a frame: its name, the names of its class and module, its bytes."""

    key: str
    kind: str
    module: str
    data: bytes


def encode(parts: Sequence[Part]) -> bytes:
    """Return the bytes of a frame.

    Raises
    ------
    WireError
        If a name has a comma or a line end in it, comes twice, or it all has 4 GiB or more.
    """
    names = [part.key for part in parts]
    for part in parts:
        if any(one in name for name in part[:3] for one in _NOT_IN_NAMES):
            raise WireError(
                f"A frame cannot name an object {part[:3]}: ',' or a line end.", "Choose another."
            )
        if names.count(part.key) > 1:
            raise WireError(f"A frame cannot have two objects {part.key!r}.")
    data = b"".join(part.data for part in parts)
    text = "".join(f"{part.key},{part.kind},{part.module}\n" for part in parts).encode()
    if len(data) + len(text) > _MOST_BYTES:
        raise WireError(f"A frame of {len(data)} bytes is too long.", "Give less than 4 GiB.")
    ends = np.cumsum([len(part.data) for part in parts], dtype=np.uint64).astype("<u4").tobytes()
    return b"".join((data, ends, text, _END.pack(len(text), len(parts), len(data))))


def decode(data: bytes | memoryview) -> list[Part]:
    """Return the objects of a frame, in order.

    Raises
    ------
    WireError
        If it is none.
    """
    data = bytes(data)
    if len(data) < _END.size:
        raise WireError(f"A frame has {_END.size} bytes at least, not {len(data)}.")
    n_text, n, at = _END.unpack_from(data, len(data) - _END.size)
    if at + 4 * n + n_text + _END.size != len(data):
        raise WireError(f"The trailer of a frame of {len(data)} bytes does not fit it.")
    ends = np.frombuffer(data, "<u4", n, at).tolist()
    try:
        lines = data[at + 4 * n : -_END.size].decode().split("\n")
    except UnicodeDecodeError as error:
        raise WireError("The names in a frame are no text.") from error
    borders = [0, *ends]
    if len(lines) != n + 1 or lines[-1] or borders != sorted(borders) or borders[-1] != at:
        raise WireError("The trailer of a frame contradicts itself.")
    found = []
    for line, (start, end) in zip(lines, pairwise(borders), strict=False):
        names = line.split(",")
        if len(names) != 3:
            raise WireError(f"A line of a frame's trailer is {line[:80]!r}, not key,class,module.")
        key, kind, module = names
        found.append(Part(key, kind, module, data[start:end]))
    return found


def check_frame(data: bytes) -> None:
    """Raise `WireError` if these bytes are no frame, or an array in it cannot be read."""
    for part in decode(data):
        if part[1:3] == ARRAY:
            decode_array(part.data)


def encode_array(array: NDArray[Any]) -> bytes:
    """Return an array as an ``.npy`` file; `WireError` if its elements are Python objects."""
    if array.dtype.hasobject:
        raise WireError(
            f"An array of {array.dtype} holds Python objects, which would have to be pickled.",
            "Give it a dtype of numbers, text or bytes.",
        )
    out = io.BytesIO()
    npy.write_array(out, np.asarray(array), allow_pickle=False)
    return out.getvalue()


def decode_array(data: bytes) -> NDArray[Any]:
    """Read an ``.npy`` file; `WireError` if it is none, or would have to be unpickled."""
    try:
        found: NDArray[Any] = npy.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, TypeError, EOFError, SyntaxError, OverflowError, MemoryError) as error:
        raise WireError(f"An array in a frame cannot be read: {error}") from error
    return found
