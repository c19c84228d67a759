"""The face of a camera as a picture, in the terminal and as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.cli.picture import colours
from forebay.errors import ConfigError
from forebay.wire.camera_map import MODULES_OF_ROW, face
from forebay.wire.ssreadout import present
from forebay.wire.target import N_MODULES

_EMPTY = 0, 0, 0  # beside the camera
_MISSING = 90, 30, 30  # a module that did not come
_PNG_PIXEL = 10  # points of a pixel, both ways


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

    def lines(self) -> list[str]:
        """Say the rates of all modules, in the rows of the camera, and which lose readouts."""
        hz = self.hz
        rows, module = [], 0
        for n in MODULES_OF_ROW:
            row = " ".join(f"{one:7.1f}" for one in hz[module : module + n])
            rows.append(row.center(8 * max(MODULES_OF_ROW)).rstrip())
            module += n
        slow = [f"{i} ({100 * (1 - one / hz.max()):.1f} %)" for i, one in enumerate(hz) if one < hz.max()]
        return ["readouts/s of each module:", *rows, f"modules that lose: {', '.join(slow) or 'none'}"]


def face_colours(readout: np.void) -> NDArray[np.uint8]:
    """Return (row, column, 3) colours of a readout's amplitudes; missing modules are dark red."""
    data = readout["data"]
    picture = face(data)
    is_module = ~np.isnan(face(np.zeros(data.shape)))
    is_there = ~np.isnan(picture)
    found = np.empty((*picture.shape, 3), np.uint8)
    found[:] = _EMPTY
    found[is_module] = _MISSING
    if is_there.any():
        found[is_there] = colours(picture[is_there][None])[0]
    return found


def save_face(readout: np.void, path: Path) -> None:
    """Write the face of a readout as PNG.

    Raises
    ------
    ConfigError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("Pictures need Pillow.", "Install it: pip install 'forebay[picture]'") from error
    pixels = face_colours(readout)
    Image.fromarray(pixels.repeat(_PNG_PIXEL, axis=0).repeat(_PNG_PIXEL, axis=1)).save(path)


def face_text(readout: np.void, said: Sequence[str] = ()) -> Any:
    """Return the face for a terminal of many colours, two rows of pixels a line, and lines of text below."""
    from rich.text import Text

    pixels = face_colours(readout)
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for (r, g, b), (r2, g2, b2) in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        text.append("\n")
    there = present(np.asarray(readout)[None])[0]
    missing = np.flatnonzero(~there).tolist()
    data = readout["data"][there]
    text.append(f"readout {readout['number']}  time tag {int(readout['time_ns']) / 1e9:.6f} s  ")
    text.append(f"{int(there.sum())} modules")
    if missing:
        text.append(f", missing {', '.join(map(str, missing))}")
    if data.size:
        text.append(f"\n{data.min():.1f} to {data.max():.1f} mV, mean {data.mean():.1f} mV")
    for line in said:
        text.append(f"\n{line}")
    return text
