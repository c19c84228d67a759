"""The live format ``array-1.0``: a line of JSON and the raw pixels of one image, as existing viewers read it.

Part 0 is exactly ``{"htype":"array-1.0", "shape":[H,W], "type":"uint16", "frame":ID}``, with H rows of W
pixels, numpy's name of the type, and the number of the image; part 1 holds the pixels, C order, little
endian. Source: the header as PSI's std_detector_buffer sends it; older senders add keys, which are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np

from forebay.errors import WireError
from forebay.event import Array

_Type = Literal[
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64"
]
TYPES: tuple[str, ...] = _Type.__args__  # type: ignore[attr-defined]
"""Types that a pixel may have."""

_Side = Annotated[int, msgspec.Meta(ge=0, le=2**20)]


class _Header(msgspec.Struct, tag_field="htype", tag="array-1.0", frozen=True):
    shape: tuple[_Side, _Side]
    type: _Type
    frame: Annotated[int, msgspec.Meta(ge=0)]


_decoder = msgspec.json.Decoder(_Header)


@dataclass(frozen=True, slots=True, eq=False)
class LiveImage:
    """One image of a live view.

    Attributes
    ----------
    frame:
        Its number; forebay sends the pulse id.
    data:
        (row, column), read only.
    """

    frame: int
    data: Array


def encode(image: Array, frame: int) -> list[bytes | memoryview]:
    """Return the two parts; the memory of a C-ordered little-endian image is lent, not copied.

    Raises
    ------
    WireError
        If the image is not (row, column) of one of `TYPES`.
    """
    if image.ndim != 2 or image.dtype.name not in TYPES:
        raise WireError(
            f"An array of shape {image.shape} and type {image.dtype} is no array-1.0 image.",
            f"Send (row, column) of {', '.join(TYPES)}.",
        )
    rows, columns = image.shape
    header = (
        f'{{"htype":"array-1.0", "shape":[{rows},{columns}], "type":"{image.dtype.name}", "frame":{frame}}}'
    )
    pixels = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    return [header.encode(), pixels.reshape(-1).view(np.uint8).data]


def decode(parts: Sequence[bytes | memoryview]) -> LiveImage:
    """Read one message; the memory of the image is that of the message.

    Raises
    ------
    WireError
        If the parts are not one image.
    """
    if len(parts) != 2:
        raise WireError(f"An array-1.0 message has 2 parts, this one {len(parts)}.")
    try:
        header = _decoder.decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"The header of an array-1.0 message cannot be read: {error}.") from error
    dtype = np.dtype(header.type).newbyteorder("<")
    rows, columns = header.shape
    if memoryview(parts[1]).nbytes != rows * columns * dtype.itemsize:
        raise WireError(
            f"{memoryview(parts[1]).nbytes} bytes are not an image of {rows} x {columns} {header.type}."
        )
    pixels = np.frombuffer(parts[1], dtype) if rows and columns else np.empty(0, dtype)
    data = pixels.reshape(rows, columns)
    data.flags.writeable = False
    return LiveImage(header.frame, data)
