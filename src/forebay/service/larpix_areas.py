"""Which pixel layout is whose: one for all, or of a board, or of a tile of a board."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.config.larpix import LAYOUT_KEY
from forebay.errors import ConfigError
from forebay.service.larpix_layout import Layout, find_layout

CHANNELS_OF_A_TILE: Final = 4
"""Io channels by which a PACMAN board reads one tile: 1 to 4 the first, 5 to 8 the second, and so on."""

ALL: Final = "*"


def tile_of(io_channel: int) -> int:
    """Return the tile behind an io channel, from 1."""
    return (io_channel - 1) // CHANNELS_OF_A_TILE + 1


def parse_layouts(texts: Iterable[str]) -> dict[str, str]:
    """Return key -> name of a layout of ``NAME`` (for all) or ``KEY=NAME`` each; see `Layouts`.

    Raises
    ------
    ConfigError
        If a key is none.
    """
    found = {}
    for text in texts:
        key, equals, name = text.rpartition("=")
        found[check_key(key if equals else ALL)] = name
    return found


def check_key(key: str) -> str:
    """Return `key` if it is one of `Layouts`; `ConfigError` if not."""
    if not re.fullmatch(LAYOUT_KEY, key):
        raise ConfigError(
            f"{key[:40]!r} names no board and no tile for a pixel layout.",
            "Write GROUP or GROUP/TILE, each a number or *, e.g. 1=layout-2.4.0 or 2/*=layout-2.5.0.",
        )
    return key


@dataclass(frozen=True)
class Area:
    """Chips that one map of pixels shows.

    Attributes
    ----------
    tile:
        None for a whole board.
    layout:
        None if there is none for them.
    rows:
        (chip,) their places among all chips.
    """

    io_group: int
    tile: int | None
    layout: Layout | None
    rows: NDArray[np.int64]


class Layouts:
    """Layouts by key: ``GROUP`` (an io group: a board) or ``GROUP/TILE``, each a number or ``*`` for any.

    The key that says most is taken: ``1/3``, ``1/*``, ``*/3``, ``1``, ``*/*``, ``*``. Chips of a key with a
    tile have a map for each tile, others one for each board.
    """

    def __init__(self, by_key: Mapping[str, Layout] | None = None) -> None:
        self.by_key = dict(by_key or {})

    def __bool__(self) -> bool:
        return bool(self.by_key)

    @property
    def names(self) -> dict[str, str]:
        """Key -> name of the layout."""
        return {key: one.name for key, one in self.by_key.items()}

    @property
    def first(self) -> Layout:
        """What whoever knows one layout only is told: that for all, else the first; `KeyError` if none."""
        return self.by_key[ALL if ALL in self.by_key else next(iter(self.by_key), ALL)]

    def of(self, io_group: int, io_channel: int) -> tuple[int | None, Layout | None]:
        """Return tile (None for the whole board) and layout of the chips of an io channel."""
        tile = tile_of(io_channel)
        for key in (f"{io_group}/{tile}", f"{io_group}/*", f"*/{tile}", f"{io_group}", "*/*", ALL):
            if key in self.by_key:
                return (tile if "/" in key else None), self.by_key[key]
        return None, None

    def areas(self, chips: NDArray[Any]) -> list[Area]:
        """Return areas of chips (chip, 3), by io group and tile, and those named that have no chips."""
        found: dict[tuple[int, int], tuple[int | None, Layout | None, list[NDArray[np.int64]]]] = {}
        channels, index = np.unique(chips[:, :2], axis=0, return_inverse=True)
        for i, (group, channel) in enumerate(channels.tolist()):
            tile, layout = self.of(group, channel)
            rows = np.flatnonzero(index.ravel() == i)
            found.setdefault((group, tile or 0), (tile, layout, []))[2].append(rows)
        for key, layout in self.by_key.items():
            if ALL not in key:
                name, _, of_tile = key.partition("/")
                tile = int(of_tile) if of_tile else None
                found.setdefault((int(name), tile or 0), (tile, layout, []))
        return [
            Area(group, tile, layout, np.concatenate([np.zeros(0, np.int64), *rows]))
            for (group, _), (tile, layout, rows) in sorted(found.items(), key=lambda one: one[0])
        ]

    def by_pixel(self, chips: NDArray[Any], values: NDArray[Any]) -> dict[int, float]:
        """Return pixel -> value of (chip, 3) and (chip, channel), summed over all areas."""
        found: dict[int, float] = {}
        for area in self.areas(chips):
            if area.layout is not None:
                for pixel, value in area.layout.by_pixel(chips[area.rows], values[area.rows]).items():
                    found[pixel] = found.get(pixel, 0.0) + value
        return found

    def pixel_of(self, chip: Sequence[int], channel: int) -> int | None:
        """Return the pixel of a channel of a chip (group, io channel, id); None if it has none."""
        _, layout = self.of(chip[0], chip[1])
        return None if layout is None else layout.pixel_of(chip[2], channel)


def load_layouts(directory: Path | None, names: Mapping[str, str]) -> Layouts:
    """Return the layouts of these names in a directory.

    Raises
    ------
    ConfigError
        If there is none of a name, or it is no layout, or a key is none.
    """
    return Layouts({check_key(key): find_layout(directory, name) for key, name in names.items()})
