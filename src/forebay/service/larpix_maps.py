"""Maps of pixels: of boards and of their tiles, by the layouts that are loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.errors import UnknownError
from forebay.service.larpix_areas import ALL, Area, Layouts, load_layouts, parse_layouts
from forebay.service.larpix_layout import Layout
from forebay.service.larpix_picture import SIZE, chip_map, pixel_map, png, side_by_side
from forebay.service.larpix_tally import Tally


class PixelMaps:
    """Maps of what a tally has counted; methods may be called from any thread.

    Parameters
    ----------
    directory:
        Of pixel layouts.
    names:
        Key of `forebay.service.larpix_areas.Layouts` -> name of a layout that is there from the start.

    Raises
    ------
    ConfigError
        If one of these is none.
    """

    def __init__(self, tally: Tally, directory: Path | None, names: Mapping[str, str]) -> None:
        self._tally = tally
        self._directory = directory
        tally.layouts = load_layouts(directory, names)

    def maps(self) -> list[dict[str, Any]]:
        """Return of which board, or tile of one, there is a map, by which layout (None: chip by chip).

        `unplaced` is the part of its words, of this run, from channels that the layout does not have: of a
        layout that is not the right one it is large.
        """
        with self._tally.lock:
            return [
                {
                    "io_group": area.io_group,
                    "tile": area.tile,
                    "layout": None if area.layout is None else area.layout.name,
                    "unplaced": self._unplaced(area),
                }
                for area in self._tally.layouts.areas(self._tally.chips.chips)
            ]

    def _unplaced(self, area: Area) -> float:
        chips, counts = self._tally.chips.chips[area.rows], self._tally.chips.counts[area.rows]
        total = int(counts.sum())
        if area.layout is None or not total:
            return 0.0
        return 1.0 - sum(area.layout.by_pixel(chips, counts).values()) / total

    def picture(self, io_group: int | None = None, tile: int | None = None) -> bytes:
        """Return the map of pixels as PNG: of one board, of one tile of it, or all side by side.

        Chips without a layout are together in the last field, see `chip_map`.
        """
        with self._tally.lock:
            layouts, chips = self._tally.layouts, self._tally.chips.chips
            rates = self._tally.channel_rates()
        areas = [
            one
            for one in layouts.areas(chips)
            if io_group in (None, one.io_group) and tile in (None, one.tile)
        ]
        placed = [(one.layout, one.rows) for one in areas if one.layout is not None]
        if not areas and layouts:
            placed = [(layouts.first, np.zeros(0, np.int64))]  # nothing has come yet
        rest = np.concatenate([np.zeros(0, np.int64), *(one.rows for one in areas if one.layout is None)])
        top = max([float(rates[one.rows].max(initial=0)) for one in areas], default=0.0)
        size = SIZE if len(placed) < 2 else 2 * SIZE // math.ceil(math.sqrt(len(placed)))
        maps = [_map(layout, chips[rows], rates[rows], top, size) for layout, rows in placed]
        if rest.size or not maps:
            maps.append(chip_map(rates[rest[np.lexsort(chips[rest].T[::-1])]], top, size))
        return png(side_by_side(maps))

    def retrieve(self) -> dict[str, Any]:
        """Return layout and lookup, as the original does, of the one for all or the first; names by key.

        Raises
        ------
        UnknownError
            If none is loaded.
        """
        layouts = self._tally.layouts
        if not layouts:
            raise UnknownError("No pixel layout is loaded.", "Load one: load_pixel_layout(NAME).")
        return {**layouts.first.said(), "layouts": layouts.names}

    def load(self, name: str) -> dict[str, Any]:
        """Load a layout of the directory for all in the place of all others, or as ``KEY=NAME`` beside them.

        Raises
        ------
        ConfigError
            If there is none of that name, or it is no layout, or the key is none.
        """
        names = parse_layouts([str(name)])
        loaded = load_layouts(self._directory, names).by_key
        with self._tally.lock:
            before = {} if ALL in names else self._tally.layouts.by_key
            self._tally.layouts = Layouts({**before, **loaded})
            self._tally.greatest.clear()
        (layout,) = loaded.values()
        return layout.said()


def _map(
    layout: Layout, chips: NDArray[np.uint8], rates: NDArray[Any], top: float, size: int
) -> NDArray[np.uint8]:
    values = layout.in_place(layout.by_pixel(chips, rates))
    return pixel_map(layout.places, values, top, size)
