"""Rates of pixels as a picture: where the pixels are, or a row for each chip while no layout is loaded."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 512
"""Longest side of a map of pixels, in points."""

N_CHANNELS: Final = 32
_CELL = 12
_EMPTY = (40, 40, 40)
_RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], float)


def colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (..., 3): dark for 0, bright for the greatest; logarithmic, since hot pixels are very hot."""
    scaled = np.log1p(np.maximum(values, 0))
    scaled = scaled / max(float(scaled.max(initial=0)), 1e-9)
    places = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(scaled, places, _RAMP[:, i]) for i in range(3)], -1).astype(np.uint8)


def chip_map(rates: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (row, column, 3) of rates (chip, channel): a row of cells for each chip."""
    table = rates[:, :N_CHANNELS] if len(rates) else np.zeros((1, N_CHANNELS))
    return colours(table).repeat(_CELL, 0).repeat(_CELL, 1)


def pixel_map(places: NDArray[Any], rates: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (row, column, 3) of pixels at `places` (pixel, 2: x, y with y down) with these rates."""
    low, span = places.min(0), float(np.ptp(places, axis=0).max()) or 1.0
    side = max(2, int(SIZE / (np.sqrt(len(places)) + 1)))
    at = ((places - low) / span * (SIZE - side)).astype(int)
    image = np.empty((*(at.max(0)[::-1] + side), 3), np.uint8)
    image[:] = _EMPTY
    for (x, y), colour in zip(at.tolist(), colours(rates), strict=True):
        image[y : y + side, x : x + side] = colour
    return image


def png(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG of (row, column, 3)."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
