"""Pixels that everybody can recompute: frames as pure functions of pulse id and module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from forebay.errors import ConfigError
from forebay.event import Array
from forebay.wire.packet import PacketLayout

CYCLE: Final = 7
"""A module sends the same pixels again after so many pulse ids.

A prime, so that what a slot of a ring held one turn ago differs from what belongs there unless the
ring has a multiple of 7 slots: stale pixels show.
"""

_INTEGRATING: Final = frozenset({"jungfrau"})
"""Detectors whose pixel is a gain stage (bits 15-14) and an ADC value; all others count photons."""

_GAIN_STAGES: Final = np.array([0, 0, 0, 1, 3])
_ADU_PER_PHOTON: Final = 200
_BACKGROUND_PHOTONS: Final = 0.02


def pattern(name: str, layout: PacketLayout, pulse_id: int, module: int) -> Array:
    """Return what a module sends for a pulse, `layout.frame_shape` of `layout.pixel`.

    Only ``pulse_id % CYCLE`` matters. Names:

    * ``ramp``: every pixel differs from its neighbours and from the same pixel of the next pulses;
      all gain stages appear.
    * ``noise``: a pedestal of each pixel and electronic noise (JUNGFRAU), or 0.02 photons a pixel.
    * ``picture``: ``noise`` and diffraction rings around the joint of modules 0 and 1.

    Raises
    ------
    ConfigError
        If there is no such pattern.
    """
    if name not in PATTERNS:
        raise ConfigError(f"There is no pattern {name!r}.", f"Take one of {', '.join(PATTERNS)}.")
    return PATTERNS[name](layout, pulse_id % CYCLE, module)


def _ramp(layout: PacketLayout, turn: int, module: int) -> Array:
    row, column = np.ogrid[: layout.frame_shape[0], : layout.frame_shape[1]]
    value = 37 * column + 101 * row + 977 * turn + 1009 * module
    if layout.name in _INTEGRATING:
        stage = _GAIN_STAGES[(column + 3 * row + turn + module) % len(_GAIN_STAGES)]
        return _words(layout, stage << 14 | value % 2**14)
    return _words(layout, value % _values_of(layout))


def _noise(layout: PacketLayout, turn: int, module: int) -> Array:
    return _detected(layout, turn, module, np.full(layout.frame_shape, _BACKGROUND_PHOTONS))


def _picture(layout: PacketLayout, turn: int, module: int) -> Array:
    rows, columns = layout.frame_shape
    row, column = np.ogrid[:rows, :columns]
    radius = np.hypot(row + rows * (module - 1) + 0.5, column - columns / 2 + 0.5) / columns
    photons = np.full(layout.frame_shape, _BACKGROUND_PHOTONS)
    for ring, height in ((0.08, 2.5), (0.17, 1.2), (0.26, 1.8), (0.36, 0.7), (0.45, 0.9)):
        photons += height * np.exp(-(((radius - ring) / 0.006) ** 2))
    return _detected(layout, turn, module, photons)


def _detected(layout: PacketLayout, turn: int, module: int, photons: Array) -> Array:
    random = np.random.default_rng([module, turn])
    counted = random.poisson(photons)
    if layout.name not in _INTEGRATING:
        return _words(layout, np.minimum(counted, _values_of(layout) - 1))
    pedestal = np.random.default_rng(module).normal(2500, 60, layout.frame_shape)
    noise = random.normal(0, 12, layout.frame_shape)
    return _words(layout, np.clip(pedestal + noise + _ADU_PER_PHOTON * counted, 0, 2**14 - 1))


def _values_of(layout: PacketLayout) -> int:
    return int(2 ** (8 * layout.pixel.itemsize))


def _words(layout: PacketLayout, values: Array) -> Array:
    return np.ascontiguousarray(values.astype(layout.pixel))


PATTERNS: Final[dict[str, Callable[[PacketLayout, int, int], Array]]] = {
    "ramp": _ramp,
    "noise": _noise,
    "picture": _picture,
}
"""Each takes the layout, ``pulse_id % CYCLE`` and the module."""
