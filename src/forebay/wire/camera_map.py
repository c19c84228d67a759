"""Where modules and pixels of the CHEC camera are: the order of channels, and the camera's face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.event import Array
from forebay.wire.target import N_MODULES, N_PIXELS

MODULES_OF_ROW = (4, 6, 6, 6, 6, 4)
"""Modules in each row of the camera, numbered from the first row on."""

_SIDE = 8  # pixels of a module, both ways
_MOST = max(MODULES_OF_ROW)


def _numbers(text: str) -> NDArray[np.uint64]:
    return np.array(text.split(), np.uint64)


SSL2ASIC_CH = _numbers(
    "29 23 21 22 30 27 24 0 25 31 20 18 28 26 17 3 2 16 10 12 19 4 15 9 1 8 11 14 6 7 5 13 62 56 54 53 59 60 "
    "55 50 57 58 52 49 61 63 32 35 51 47 42 46 33 34 45 48 44 36 41 43 40 38 39 37"
)
"""Channel i of the ASICs is slow-signal channel ``SSL2ASIC_CH[i]``; (channel,)."""

SSL2COLROW = _numbers(
    "8 1 5 6 41 43 51 47 11 14 13 7 44 36 42 46 12 2 4 15 38 37 33 45 10 16 9 19 40 39 34 48 26 28 20 31 56 "
    "54 35 63 17 3 18 25 62 53 32 61 27 30 21 22 58 52 59 55 24 0 29 23 49 57 50 60"
)
"""Pixel i of a module, row by row, is slow-signal channel ``SSL2COLROW[i]``; (pixel,)."""

MAPS = {"ssl2asic_ch": SSL2ASIC_CH, "ssl2colrow": SSL2COLROW}
"""By the names that SSDAQ gives them."""


def mapped(data: Array, name: str) -> Array:
    """Return amplitudes, (..., channel), in the order of a map.

    Raises
    ------
    ConfigError
        If there is no such map.
    """
    if name not in MAPS:
        raise ConfigError(f"There is no order of pixels {name!r}.", f"Choose one of {', '.join(MAPS)}.")
    found: Array = data[..., MAPS[name].astype(np.intp)]
    return found


def face(data: Array) -> NDArray[np.float64]:
    """Return the picture of the camera's face, (row, column) of pixels; NaN where there is none.

    Parameters
    ----------
    data:
        (module, channel) amplitudes as they are sent.
    """
    picture = np.full((len(MODULES_OF_ROW) * _SIDE, _MOST * _SIDE), np.nan)
    modules = mapped(np.asarray(data), "ssl2colrow").reshape(N_MODULES, _SIDE, _SIDE)
    module = 0
    for i_row, n in enumerate(MODULES_OF_ROW):
        for i in range(n):
            row, column = i_row * _SIDE, ((_MOST - n) // 2 + i) * _SIDE
            picture[row : row + _SIDE, column : column + _SIDE] = modules[module]
            module += 1
    return picture


assert sum(MODULES_OF_ROW) == N_MODULES
assert _SIDE**2 == N_PIXELS
