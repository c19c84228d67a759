"""Pixel layouts as larpix-geometry writes them: which channel of which chip is which pixel, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from forebay.errors import ConfigError


class Layout:
    """One layout; chips are named ``1-1-ID``, as the original has only one io channel.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no layout.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.text: dict[str, Any] = yaml.safe_load(path.read_text())
            chips = [(int(chip), list(pixels)) for chip, pixels in self.text["chips"]]
            pixels = {int(one[0]): (float(one[1]), float(one[2])) for one in self.text["pixels"]}
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, IndexError) as error:
            raise ConfigError(
                f"{path} is no pixel layout: {error}.", "Give one of larpix-geometry."
            ) from error
        self.text["chips"] = [[f"1-1-{chip}", own] for chip, own in chips]
        self.lookup = {
            pixel: {"channel": channel, "chip": f"1-1-{chip}"}
            for chip, own in chips
            for channel, pixel in enumerate(own)
            if pixel is not None
        }
        self._pixel = {
            (chip, channel): pixel
            for chip, own in chips
            for channel, pixel in enumerate(own)
            if pixel is not None
        }
        self.places: NDArray[np.float64] = np.array(list(pixels.values()), float).reshape(-1, 2)
        self._index = {pixel: i for i, pixel in enumerate(pixels)}

    def said(self) -> dict[str, Any]:
        """Return layout and lookup, as the original answers."""
        return {"layout": self.text, "lookup": self.lookup}

    def by_pixel(self, chips: NDArray[Any], values: NDArray[Any]) -> dict[int, float]:
        """Return pixel -> value of (chip, 3) and (chip, channel), summed over chips of one id."""
        found: dict[int, float] = {}
        for row, (_, _, chip_id) in enumerate(chips.tolist()):
            for channel in np.flatnonzero(values[row]).tolist():
                pixel = self._pixel.get((chip_id, channel))
                if pixel is not None:
                    found[pixel] = found.get(pixel, 0.0) + float(values[row, channel])
        return found

    def pixel_of(self, chip_id: int, channel: int) -> int | None:
        """Return the pixel of a channel, None if it has none."""
        return self._pixel.get((chip_id, channel))

    def in_place(self, rates: dict[int, float]) -> NDArray[np.float64]:
        """Return (pixel,) of `places` with these rates."""
        values = np.zeros(len(self.places))
        for pixel, rate in rates.items():
            if pixel in self._index:
                values[self._index[pixel]] = rate
        return values


def find_layout(directory: Path | None, name: str) -> Layout:
    """Return the layout of a name or version in a directory; `ConfigError` if there is none."""
    if directory is None:
        raise ConfigError("There are no pixel layouts.", "Start the monitor with --layouts DIR.")
    known = {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    for stem in (name, Path(name).stem, f"layout-{name}"):
        if stem in known:
            return Layout(known[stem])
    there = f"In {directory} are {', '.join(known) or 'none'}."
    raise ConfigError(f"There is no pixel layout {name!r}.", there)
