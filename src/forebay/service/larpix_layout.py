"""Pixel layouts as larpix-geometry writes them: which channel of which chip is which pixel, and where."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from forebay.errors import ConfigError

_ADVICE = (
    "Give a layout-*.yaml of larpix-geometry: chips: [[chip id, [pixel of channel 0, ...]], ...] (null for a "
    "channel without one), pixels: [[pixel, x, y, ...], ...], in mm, y down."
)


class Layout:
    """One layout; chips are named ``1-1-ID``, as the original has only one io channel.

    Attributes
    ----------
    name:
        Of its file.
    places:
        (pixel, 2) x and y in mm, y down.
    lookup:
        Pixel -> chip and channel.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no layout; it says what is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        try:
            self.text: dict[str, Any] = yaml.safe_load(path.read_text())
            chips, pixels = _chips(self.text), _pixels(self.text)
        except OSError as error:
            raise ConfigError(f"The pixel layout {path} cannot be read: {error.strerror}.") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is no pixel layout, and no YAML: {_brief(error)}.", _ADVICE) from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path} is no pixel layout: {error}.", _ADVICE) from error
        self.text["chips"] = [[f"1-1-{chip}", own] for chip, own in chips.items()]
        self._pixel = {
            (chip, channel): pixel
            for chip, own in chips.items()
            for channel, pixel in enumerate(own)
            if pixel is not None
        }
        self.lookup = {
            pixel: {"channel": channel, "chip": f"1-1-{chip}"}
            for (chip, channel), pixel in self._pixel.items()
        }
        self.places: NDArray[np.float64] = np.array(list(pixels.values()), float)
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


def _entries(text: object, key: str) -> list[Any]:
    if not isinstance(text, dict):
        raise TypeError(f"it holds {type(text).__name__}, not keys with values")
    entries = text.get(key)
    if not isinstance(entries, list) or not entries:
        has = "not there" if key not in text else f"{_brief(entries)}, no list"
        raise ValueError(f"its key {key} is {has}; it has {', '.join(map(str, text)) or 'none'}")
    return entries


def _chips(text: object) -> dict[int, list[int | None]]:
    found: dict[int, list[int | None]] = {}
    owner: dict[int, str] = {}
    for i, one in enumerate(_entries(text, "chips")):
        match one:
            case [int(chip), [*pixels]] if all(pixel is None or isinstance(pixel, int) for pixel in pixels):
                pass
            case _:
                raise ValueError(f"chips[{i}] is {_brief(one)}, not [chip id, [pixel, ...]]")
        if chip in found:
            raise ValueError(f"chip {chip} is there twice")
        if not 0 <= chip <= 255 or len(pixels) > 64:
            raise ValueError(f"chip {chip} has {len(pixels)} channels; ids are 0 to 255, channels at most 64")
        for channel, pixel in enumerate(pixels):
            place = f"chip {chip} channel {channel}"
            if pixel is not None and owner.setdefault(pixel, place) != place:
                raise ValueError(f"pixel {pixel} is both {owner[pixel]} and {place}")
        found[chip] = pixels
    return found


def _pixels(text: object) -> dict[int, tuple[float, float]]:
    found: dict[int, tuple[float, float]] = {}
    for i, one in enumerate(_entries(text, "pixels")):
        match one:
            case [int(pixel), int() | float() as x, int() | float() as y, *_] if math.isfinite(
                x
            ) and math.isfinite(y):
                pass
            case _:
                raise ValueError(f"pixels[{i}] is {_brief(one)}, not [pixel, x, y, ...]")
        if pixel in found:
            raise ValueError(f"pixel {pixel} is there twice")
        found[pixel] = float(x), float(y)
    return found


def _brief(value: object) -> str:
    return " ".join(str(value).split())[:100]


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
