"""The face of a camera in the terminal: a picture, and what there is to know about it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.cli.picture import colours, limits
from forebay.wire.camera_map import FaceLayout
from forebay.wire.ssreadout import present
from forebay.wire.target import N_MODULES

_EMPTY = 0, 0, 0  # beside the camera
_MISSING = 90, 30, 30  # a module that did not come
_MODULE = 8  # pixels of a module, both ways
_SCALE = 12  # steps of the scale of colours
_WIDTH = 30  # of lines beside the face, in a terminal of 80 columns
_YEAR_2000, _YEAR_2100 = 946_684_800 * 10**9, 4_102_444_800 * 10**9
_NUMBERED = FaceLayout()


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


def face_text(
    readout: np.void,
    said: Sequence[str] = (),
    layout: FaceLayout = _NUMBERED,
    *,
    alarm: str = "",
    is_narrow: bool = False,
) -> Any:
    """Return the face for a terminal of many colours, two rows of pixels a line, and lines of text beside it.

    Parameters
    ----------
    said:
        Lines of text behind those that say what the readout is; `alarm`, if any, comes before all.
    is_narrow:
        The text comes before the face, for terminals of less than 80 columns.
    """
    from rich.text import Text

    words = [
        Text(part) for line in (*in_words(readout), *said) for part in textwrap.wrap(line, _WIDTH) or [""]
    ]
    words.insert(1, _scale(readout["data"]))
    if alarm:
        words.insert(0, Text(alarm, "bold white on red"))
    face = _face_lines(readout, layout)
    if is_narrow:
        lines = [*words, *face]
    else:
        gap = Text("  ")
        lines = [gap.join([left, right]) for left, right in zip(face, words, strict=False)]
        lines += face[len(words) :] + [
            Text(" " * face[0].cell_len).append("  ").append_text(one) for one in words[len(face) :]
        ]
    text = Text("\n").join(lines)
    text.no_wrap, text.overflow = True, "crop"
    return text


def _face_lines(readout: np.void, layout: FaceLayout) -> list[Any]:
    """Return the lines of a face; in each module that is missing stands its number."""
    from rich.text import Text

    pixels = face_colours(readout, layout)
    signs = np.full((len(pixels) // 2, pixels.shape[1]), "▀")
    there = present(np.asarray(readout)[None])[0]
    for module, (row, column) in layout.corners.items():
        if not there[module]:
            number = f"{module:^{_MODULE}}"
            signs[row // 2 + 1, column : column + _MODULE] = [sign if sign != " " else "▀" for sign in number]
    lines = []
    for i, line in enumerate(signs):
        text = Text()
        for sign, (r, g, b), (r2, g2, b2) in zip(
            line, pixels[2 * i].tolist(), pixels[2 * i + 1].tolist(), strict=True
        ):
            colour = f"rgb({r},{g},{b})" if sign == "▀" else "bold white"
            text.append(sign, f"{colour} on rgb({r2},{g2},{b2})")
        lines.append(text)
    return lines


def _scale(data: NDArray[np.float64]) -> Any:
    """Return the colours from the darkest to the lightest, with the amplitudes that they stand for."""
    from rich.text import Text

    known = data[~np.isnan(data)]
    if not known.size:
        return Text("no amplitudes")
    low, high = limits(known)
    text = Text(f"{low:.1f} ")
    for r, g, b in colours(np.linspace(0, 1, _SCALE)[None])[0].tolist():
        text.append("█", f"rgb({r},{g},{b})")
    return text.append(f" {high:.1f} mV")


def in_words(readout: np.void) -> list[str]:
    """Say which readout it is, how many modules are in it and which are not, and its amplitudes."""
    there = present(np.asarray(readout)[None])[0]
    missing = ", ".join(map(str, np.flatnonzero(~there)))
    data = readout["data"][there]
    said = [f"readout {readout['number']}", _time(int(readout["time_ns"]))]
    said.append(f"{int(there.sum())} of {N_MODULES} modules")
    if missing:
        said.append(f"MISSING {missing}")
    if data.size:
        said.append(f"{data.min():.1f}..{data.max():.1f}, mean {data.mean():.1f} mV")
    return said


def _time(time_ns: int) -> str:
    """Say a time tag as UTC, or in seconds where the clock of the camera does not count from 1970."""
    if not _YEAR_2000 <= time_ns < _YEAR_2100:
        return f"time tag {time_ns / 1e9:.6f} s"
    return datetime.fromtimestamp(time_ns // 10**6 / 1e3, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
