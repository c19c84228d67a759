"""The face of a camera as a picture in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from forebay.cli.camera_face import face_colours, in_words
from forebay.cli.picture import colours, limits
from forebay.errors import ConfigError, StoreError
from forebay.wire.camera_map import FaceLayout
from forebay.wire.ssreadout import present

_PIXEL = 12  # points of a pixel, both ways
_MODULE = 8 * _PIXEL
_LINE = 18
_BESIDE = 0, 0, 0
_NUMBERED = FaceLayout()


def save_face(readout: np.void, path: Path, layout: FaceLayout = _NUMBERED) -> None:
    """Write the face of a readout as PNG: numbers of modules, the scale of amplitudes, which readout it is.

    Raises
    ------
    ConfigError
        If Pillow is not installed.
    StoreError
        If the file cannot be written.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ConfigError("Pictures need Pillow.", "Install it: pip install 'forebay[picture]'") from error
    points = face_colours(readout, layout).repeat(_PIXEL, axis=0).repeat(_PIXEL, axis=1)
    points[::_MODULE] = points[:, ::_MODULE] = _BESIDE
    height, width = points.shape[:2]
    words = in_words(readout)
    picture = Image.new("RGB", (width, height + _LINE * (len(words) + 3)), _BESIDE)
    picture.paste(Image.fromarray(points))
    draw = ImageDraw.Draw(picture)
    there = present(np.asarray(readout)[None])[0]
    for module, (row, column) in layout.corners.items():
        corner = column * _PIXEL + 4, row * _PIXEL + 3
        _write(draw, corner, str(module), 13)
        if not there[module]:
            _write(draw, (corner[0] + 14, corner[1] + 38), "missing", 16)
    at = height + _LINE // 2
    known = readout["data"][~np.isnan(readout["data"])]
    if known.size:
        low, high = limits(known)
        scale = colours(np.linspace(0, 1, width // 2)[None]).repeat(_LINE - 4, axis=0)
        picture.paste(Image.fromarray(scale), (width // 4, at))
        _write(draw, (8, at - 1), f"{low:.1f} mV", 14)
        _write(draw, (width - width // 4 + 8, at - 1), f"{high:.1f} mV", 14)
    for i, line in enumerate(words):
        _write(draw, (8, at + _LINE * (i + 1) + 4), line, 14)
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot write {path}: {error}.", "Name a file that ends in .png.") from error


def _write(draw: Any, at: tuple[int, int], text: str, size: int) -> None:
    """Write white letters with a dark edge, to be read on any colour."""
    draw.text(at, text, fill="white", stroke_width=2, stroke_fill="black", font_size=size)
