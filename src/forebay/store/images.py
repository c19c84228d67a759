"""Reading images back."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter that our images need
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError


def mean_image(path: Path, most: int) -> tuple[NDArray[np.float64], int]:
    """Return the mean of a file's images, (row, column), and of how many.

    Parameters
    ----------
    most:
        Take at most so many images, evenly spread over the file.

    Raises
    ------
    StoreError
        If the file holds no images.
    """
    with h5py.File(path, "r") as file:
        data = file.get("/entry/data/data")
        if data is None or not len(data):
            raise StoreError(f"{path} holds no images.")
        rows = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).round().astype(int))
        total = np.zeros(data.shape[1:], np.uint64)
        for row in rows:
            total += data[row]
    return total / len(rows), len(rows)
