"""Where modules and pixels of the CHEC camera are: the order of channels, and the camera's face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.event import Array
from forebay.wire.target import N_MODULES, N_PIXELS

MODULES_OF_ROW = (4, 6, 6, 6, 6, 4)
"""Modules in each row of the camera's face."""

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
"""Pixel i of a module, on its square of 8 by 8, is slow-signal channel ``SSL2COLROW[i]``; (pixel,)."""

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


@dataclass(frozen=True)
class FaceLayout:
    """What is where on the camera's face.

    Attributes
    ----------
    order:
        The 32 modules as they are seen, row by row. As they are numbered is how the map of SSDAQ's simulator
        shows them; how a camera hangs, nothing that SSDAQ published says.
    by_columns:
        ``ssl2colrow`` goes down the columns of a module; otherwise along its rows.

    Raises
    ------
    ConfigError
        If a module is missing, or there twice.
    """

    order: tuple[int, ...] = tuple(range(N_MODULES))
    by_columns: bool = False

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(N_MODULES)):
            raise ConfigError(
                f"An order of modules must have 0 to {N_MODULES - 1} once each; there are "
                f"{len(self.order)} numbers, {len(set(self.order))} of them different.",
                "Write them as they are seen, row by row: 0 1 2 3 4 ...",
            )

    @classmethod
    def parse(cls, order: str, by_columns: bool = False) -> FaceLayout:
        """Read an order written as numbers with blanks or commas between; "" for that of the numbers.

        Raises
        ------
        ConfigError
            If something is no number, and as above.
        """
        words = order.replace(",", " ").split()
        if bad := [word for word in words if not word.isdecimal()]:
            raise ConfigError(f"An order of modules has {bad[0]!r}, which is no module.", "Write numbers.")
        return cls(tuple(map(int, words)) or cls.order, by_columns)

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """Modules of each row, from the top."""
        ends = np.cumsum(MODULES_OF_ROW).tolist()
        return [self.order[end - n : end] for n, end in zip(MODULES_OF_ROW, ends, strict=True)]

    @property
    def corners(self) -> dict[int, tuple[int, int]]:
        """Row and column of the upper left pixel of each module."""
        found = {}
        for i_row, of_row in enumerate(self.rows):
            for i, module in enumerate(of_row):
                found[module] = (i_row * _SIDE, ((_MOST - len(of_row)) // 2 + i) * _SIDE)
        return found

    def picture(self, data: Array) -> NDArray[np.float64]:
        """Return the picture of the camera's face, (row, column) of pixels; NaN where there is none.

        Parameters
        ----------
        data:
            (module, channel) amplitudes as they are sent.
        """
        picture = np.full((len(MODULES_OF_ROW) * _SIDE, _MOST * _SIDE), np.nan)
        modules = mapped(np.asarray(data), "ssl2colrow").reshape(N_MODULES, _SIDE, _SIDE)
        if self.by_columns:
            modules = modules.swapaxes(1, 2)
        for module, (row, column) in self.corners.items():
            picture[row : row + _SIDE, column : column + _SIDE] = modules[module]
        return picture


assert sum(MODULES_OF_ROW) == N_MODULES
assert _SIDE**2 == N_PIXELS
