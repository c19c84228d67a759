"""Rates of pixels as a picture: where the pixels are, or chip by chip while no layout is loaded."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 512
"""Longest side of a map, in points; larger only where chips have no room for a point a channel."""

_COLUMNS = 8  # of channels of one chip
_EMPTY = (40, 40, 40)
_GAP = 8  # points between maps
_RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], float)


def colours(values: NDArray[Any], top: float | None = None) -> NDArray[np.uint8]:
    """Return (..., 3): dark for 0, bright for `top` or the greatest; logarithmic, as hot pixels are hot."""
    top = float(values.max(initial=0)) if top is None else top
    scaled = np.log1p(np.maximum(values, 0)) / max(math.log1p(top), 1e-9)
    places = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(scaled, places, _RAMP[:, i]) for i in range(3)], -1).astype(np.uint8)


def chip_map(rates: NDArray[Any], top: float | None = None, size: int = SIZE) -> NDArray[np.uint8]:
    """Return (row, column, 3) of rates (chip, channel); see `colours` and `SIZE`.

    Each chip is a field of 8 channels a row, 32 or 64 together; chips are in their order, row by row.
    """
    n_chips = max(len(rates), 1)
    n_channels = 64 if rates[:, 32:64].any() else 32
    used = np.zeros((n_chips, n_channels))
    used[: len(rates)] = rates[:, :n_channels]
    across = math.ceil(math.sqrt(n_chips * n_channels / 64))  # chips in a row: about as wide as high
    down = math.ceil(n_chips / across)
    n_rows = n_channels // _COLUMNS
    cells = np.empty((across * down, n_rows + 1, _COLUMNS + 1, 3), np.uint8)
    cells[:] = _EMPTY
    cells[:n_chips, :n_rows, :_COLUMNS] = colours(used, top).reshape(n_chips, n_rows, _COLUMNS, 3)
    image = cells.reshape(down, across, n_rows + 1, _COLUMNS + 1, 3).swapaxes(1, 2)
    image = image.reshape(down * (n_rows + 1), across * (_COLUMNS + 1), 3)
    cell = max(1, min(12, size // max(image.shape)))
    return image.repeat(cell, 0).repeat(cell, 1)


def pixel_map(
    places: NDArray[Any], rates: NDArray[Any], top: float | None = None, size: int = SIZE
) -> NDArray[np.uint8]:
    """Return (row, column, 3) of pixels at `places` (pixel, 2: x, y with y down) with these rates."""
    low, span = places.min(0), float(np.ptp(places, axis=0).max()) or 1.0
    side = max(2, int(size / (np.sqrt(len(places)) + 1)))
    at = ((places - low) / span * (size - side)).astype(int)
    image = np.empty((*(at.max(0)[::-1] + side), 3), np.uint8)
    image[:] = _EMPTY
    for (x, y), colour in zip(at.tolist(), colours(rates, top), strict=True):
        image[y : y + side, x : x + side] = colour
    return image


def side_by_side(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return (row, column, 3) of pictures in rows, in their order, about as wide as high together."""
    if len(images) == 1:
        return images[0]
    across = math.ceil(math.sqrt(len(images)))
    height = max(one.shape[0] for one in images) + _GAP
    width = max(one.shape[1] for one in images) + _GAP
    whole = np.zeros((math.ceil(len(images) / across) * height, across * width, 3), np.uint8)
    for i, one in enumerate(images):
        row, column = divmod(i, across)
        whole[row * height : row * height + one.shape[0], column * width : column * width + one.shape[1]] = (
            one
        )
    return whole[:-_GAP, :-_GAP]


def png(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG of (row, column, 3)."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
