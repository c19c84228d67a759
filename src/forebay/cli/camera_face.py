"""The face of a camera as a picture, in the terminal and as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.cli.picture import colours
from forebay.errors import ConfigError, StoreError
from forebay.wire.camera_map import MODULES_OF_ROW, FaceLayout
from forebay.wire.ssreadout import present
from forebay.wire.target import N_MODULES

_EMPTY = 0, 0, 0  # beside the camera
_MISSING = 90, 30, 30  # a module that did not come
_PNG_PIXEL = 10  # points of a pixel, both ways
_MODULE = 8  # pixels of a module, both ways
_NUMBERED = FaceLayout()


class ModuleRates:
    """How often each module was in the readouts of the last seconds, by their time tags.

    Parameters
    ----------
    over_ns:
        How far back; older readouts are forgotten.
    """

    def __init__(self, over_ns: int = 5 * 10**9) -> None:
        self._over_ns = over_ns
        self._times: NDArray[np.int64] = np.empty(0, np.int64)
        self._there: NDArray[np.bool_] = np.empty((0, N_MODULES), bool)

    def add(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, (readout,) of `forebay.wire.ssreadout.READOUT`, oldest first."""
        if not len(readouts):
            return
        times = np.concatenate([self._times, readouts["time_ns"].astype(np.int64)])
        there = np.concatenate([self._there, present(readouts)])
        recent = np.abs(times - times[-1]) <= self._over_ns  # also where the clock was set back
        self._times, self._there = times[recent], there[recent]

    @property
    def hz(self) -> NDArray[np.float64]:
        """Return the rate of each module, (module,); 0 before there are two readouts."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return np.zeros(N_MODULES)
        seconds = (self._times[-1] - self._times[0]) * 1e-9
        period = seconds / (len(self._times) - 1)
        found: NDArray[np.float64] = self._there.sum(axis=0) / (seconds + period)
        return found

    def lines(self, layout: FaceLayout = _NUMBERED) -> list[str]:
        """Say the rates of all modules, in the rows of the camera, and which lose readouts."""
        hz = self.hz
        rows = []
        for modules in layout.rows:
            row = " ".join(f"{hz[module]:7.1f}" for module in modules)
            rows.append(row.center(8 * max(MODULES_OF_ROW)).rstrip())
        slow = [f"{i} ({100 * (1 - one / hz.max()):.1f} %)" for i, one in enumerate(hz) if one < hz.max()]
        return ["readouts/s of each module:", *rows, f"modules that lose: {', '.join(slow) or 'none'}"]


def face_colours(readout: np.void, layout: FaceLayout = _NUMBERED) -> NDArray[np.uint8]:
    """Return (row, column, 3) colours of a readout's amplitudes; missing modules are dark red."""
    data = readout["data"]
    picture = layout.picture(data)
    is_module = ~np.isnan(layout.picture(np.zeros(data.shape)))
    is_there = ~np.isnan(picture)
    found = np.empty((*picture.shape, 3), np.uint8)
    found[:] = _EMPTY
    found[is_module] = _MISSING
    if is_there.any():
        found[is_there] = colours(picture[is_there][None])[0]
    return found


def save_face(readout: np.void, path: Path, layout: FaceLayout = _NUMBERED) -> None:
    """Write the face of a readout as PNG, a thin line between modules.

    Raises
    ------
    ConfigError
        If Pillow is not installed.
    StoreError
        If the file cannot be written.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("Pictures need Pillow.", "Install it: pip install 'forebay[picture]'") from error
    points = face_colours(readout, layout).repeat(_PNG_PIXEL, axis=0).repeat(_PNG_PIXEL, axis=1)
    points[:: _MODULE * _PNG_PIXEL] = points[:, :: _MODULE * _PNG_PIXEL] = _EMPTY
    try:
        Image.fromarray(points).save(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot write {path}: {error}.", "Name a file that ends in .png.") from error


def face_text(readout: np.void, said: Sequence[str] = (), layout: FaceLayout = _NUMBERED) -> Any:
    """Return the face for a terminal of many colours, two rows of pixels a line, and lines of text below."""
    from rich.text import Text

    pixels = face_colours(readout, layout)
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for (r, g, b), (r2, g2, b2) in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        text.append("\n")
    text.append("\n".join([*in_words(readout), *said]))
    return text


def in_words(readout: np.void) -> list[str]:
    """Say which readout it is, what is missing of it, and between what its amplitudes lie."""
    there = present(np.asarray(readout)[None])[0]
    missing = ", ".join(map(str, np.flatnonzero(~there)))
    data = readout["data"][there]
    time_s = int(readout["time_ns"]) / 1e9
    said = [f"readout {readout['number']}  time tag {time_s:.6f} s  {int(there.sum())} modules"]
    if missing:
        said[0] += f", missing {missing}"
    if data.size:
        said.append(f"{data.min():.1f} to {data.max():.1f} mV, mean {data.mean():.1f} mV")
    return said
