"""The face of a camera as a picture, in the terminal and as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.cli.picture import colours
from forebay.errors import ConfigError
from forebay.wire.camera_map import face
from forebay.wire.ssreadout import present

_EMPTY = 0, 0, 0  # beside the camera
_MISSING = 90, 30, 30  # a module that did not come
_PNG_PIXEL = 10  # points of a pixel, both ways


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
