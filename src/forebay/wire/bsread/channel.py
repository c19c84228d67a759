"""What a bsread data header says of one channel, and what that means for its bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from forebay.errors import WireError

TYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        name: np.dtype(name)
        for name in (
            "int8",
            "uint8",
            "int16",
            "uint16",
            "int32",
            "uint32",
            "int64",
            "uint64",
            "float32",
            "float64",
            "bool",
        )
    }
)
"""Types of numbers by their name on the wire; ``string`` is the only other type."""

COMPRESSIONS: Final = ("none", "lz4", "bitshuffle_lz4")

MAX_DIMENSIONS: Final = 32
"""As many as HDF5 allows."""

MAX_ELEMENTS: Final = 2**48
"""More than any message holds; NumPy can count them in bytes."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Length = Annotated[int, msgspec.Meta(ge=0, le=MAX_ELEMENTS)]


class Channel(msgspec.Struct, frozen=True, dict=True):
    """One channel as its sender announced it; keys that a sender leaves out have these defaults.

    Attributes
    ----------
    name:
        Name of the channel.
    type:
        One of `TYPES` or ``string``, in any case.
    shape:
        Fastest dimension first: an image of 1280 columns and 1024 rows is (1280, 1024). Means
        nothing for strings.
    encoding:
        ``little`` or ``big``: byte order of value and timestamp.
    compression:
        One of `COMPRESSIONS`; None where the sender says nothing.
    modulo, offset:
        The channel has a value where ``(pulse_id - offset) % modulo == 0``. Informative only: a value
        is there when its frame is.
    """

    name: Text
    type: str = "float64"
    shape: tuple[Length, ...] = (1,)
    encoding: str = "little"
    compression: str | None = None
    modulo: int = 1
    offset: int = 0

    @cached_property
    def is_string(self) -> bool:
        """Whether the value is text."""
        return self.type.lower() == "string"

    @cached_property
    def is_big(self) -> bool:
        """Whether value and timestamp are big endian; `WireError` if `encoding` is unknown."""
        encoding = self.encoding.lower()
        if encoding not in ("little", "big"):
            raise WireError(f"Channel {self.name!r}: encoding {self.encoding!r} is neither little nor big.")
        return encoding == "big"

    @cached_property
    def codec(self) -> str:
        """The compression, one of `COMPRESSIONS`; `WireError` if it is another."""
        name = (self.compression or "none").lower()
        if name not in COMPRESSIONS:
            raise WireError(
                f"Channel {self.name!r}: {self.compression!r} is none of {', '.join(COMPRESSIONS)}."
            )
        return name

    @cached_property
    def is_compressed(self) -> bool:
        """Whether value frames start with the size of what they hold."""
        return (self.compression or "none").lower() in COMPRESSIONS[1:]

    @cached_property
    def is_plain(self) -> bool:
        """Whether the value frame is the memory of an array as it stands."""
        return not self.is_string and self.codec == "none" and self.dtype != np.bool

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Element type in wire byte order; of a string, its UTF-8 bytes. `WireError` if unknown."""
        if self.is_string:
            return np.dtype(np.uint8)
        found = TYPES.get(self.type.lower())
        if found is None:
            raise WireError(
                f"Channel {self.name!r}: type {self.type!r} is none of {', '.join(TYPES)}, string."
            )
        return found.newbyteorder(">" if self.is_big else "<")

    @cached_property
    def array_shape(self) -> tuple[int, ...]:
        """`shape` as arrays have it, slowest dimension first: (row, column) of an image.

        Nothing is left out or added: [1] is (1,), [5, 1] is (1, 5). A string is (1,) whatever its
        header says. `WireError` if there are more than `MAX_DIMENSIONS` or `MAX_ELEMENTS`.
        """
        if self.is_string:
            return (1,)
        if len(self.shape) > MAX_DIMENSIONS:
            raise WireError(
                f"Channel {self.name!r} has {len(self.shape)} dimensions; {MAX_DIMENSIONS} are possible."
            )
        if math.prod(max(n, 1) for n in self.shape) > MAX_ELEMENTS:
            raise WireError(f"Channel {self.name!r}: no array has shape {list(self.shape)}.")
        return self.shape[::-1]

    @cached_property
    def n_bytes(self) -> int:
        """Bytes of the uncompressed value; meaningless for strings."""
        return math.prod(self.array_shape) * self.dtype.itemsize


def describe(name: str, value: object, compression: str | None = None) -> Channel:
    """Return the channel that announces `value` as the reference implementation's sender does.

    bool, int, float and str become ``bool``, ``int64``, ``float64`` and ``string`` of shape [1], as do
    NumPy scalars with their own type; sequences become arrays first; None, a value that is missing,
    is announced as ``float64`` [1].

    Raises
    ------
    WireError
        If no bsread type can hold the value.
    """
    if value is None:
        return Channel(name, compression=compression)
    if isinstance(value, str):
        return Channel(name, "string", compression=compression)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise WireError(f"Channel {name!r}: the value is no array: {error}.") from error
    shape = array.shape[::-1] if isinstance(value, np.ndarray | list | tuple) else (1,)
    if array.dtype.kind == "U" and array.size == 1:
        return Channel(name, "string", compression=compression)
    type_name = array.dtype.newbyteorder("=").name
    if type_name not in TYPES:
        raise WireError(
            f"Channel {name!r}: a value of {array.dtype} cannot be sent.",
            f"Types are {', '.join(TYPES)} and one string.",
        )
    big = array.dtype.byteorder == ">"
    return Channel(name, type_name, shape, "big" if big else "little", compression)
