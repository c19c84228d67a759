"""A picture of what was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.store.images import mean_image

_MOST_IMAGES = 200
_COLOURS = np.array(  # dark blue over teal to light yellow: even steps of lightness
    [[13, 8, 60], [40, 50, 120], [33, 106, 136], [46, 160, 130], [140, 203, 90], [253, 231, 120]], float
)


def save_mean_image(file: Path, picture: Path) -> int:
    """Write the mean of a file's images as PNG and return of how many: all, or 200 spread evenly.

    Contrast goes from the 1st to the 99.8th percentile.

    Raises
    ------
    ConfigError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("Pictures need Pillow.", "Install it: pip install 'forebay[picture]'") from error
    mean, n_images = mean_image(file, _MOST_IMAGES)
    Image.fromarray(colours(mean)).save(picture)
    return n_images


def limits(image: NDArray[np.float64]) -> tuple[float, float]:
    """Return the values that the darkest and the lightest colour stand for."""
    low, high = np.percentile(image, [1, 99.8])
    return float(low), float(high)


def colours(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return (row, column, 3) colours for the values of an image."""
    low, high = limits(image)
    scaled = np.clip((image - low) / max(high - low, 1e-9), 0, 1)
    steps = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(scaled, steps, _COLOURS[:, i]) for i in range(3)], axis=-1).astype(np.uint8)
