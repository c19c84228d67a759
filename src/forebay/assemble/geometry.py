"""Where the pixels of each module belong in the image; raw data stay as they lie in the slot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from forebay.errors import ConfigError
from forebay.event import Array

Position = tuple[int, int, int, int]
"""(x_start, y_start, x_end, y_end): image pixel of a module's first and of its last pixel, both included.

Where an end lies before its start the module is mirrored in that direction.
"""

EIGER_CHIP_SHAPE = (256, 256)
EIGER_CHIP_GAP = 2


def stacked(modules: Array) -> Array:
    """Return (module * row, column): the modules one below the other, a view of (module, row, column)."""
    return modules.reshape(-1, modules.shape[-1])


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the modules of a detector make one image.

    Attributes
    ----------
    image_shape:
        (row, column) of the image before it is turned.
    frame_shape:
        (row, column) of the frame of one module.
    positions:
        Position of each module.
    chip_shape:
        (row, column) of a chip, where a gap is to be left between the chips of a module; None leaves
        the frames whole.
    chip_gap:
        Pixels between neighbouring chips of a module.
    quarter_turns:
        How often the finished image is turned by 90 degrees, from the row axis towards the column axis
        as `numpy.rot90` does.

    Raises
    ------
    ConfigError
        If a position has another size than the module, leaves the image or overlaps with another.
    """

    image_shape: tuple[int, int]
    frame_shape: tuple[int, int]
    positions: tuple[Position, ...]
    chip_shape: tuple[int, int] | None = None
    chip_gap: int = 0
    quarter_turns: int = 0

    def __post_init__(self) -> None:
        if any(size % chip for size, chip in zip(self.frame_shape, self._chip_shape, strict=True)):
            raise ConfigError(
                f"Chips of {self._chip_shape} pixels do not fill a frame of {self.frame_shape}."
            )
        rows, columns = self._module_shape
        for module, (x_start, y_start, x_end, y_end) in enumerate(self.positions):
            what = f"Position of module {module}, {[x_start, y_start, x_end, y_end]},"
            size = abs(y_end - y_start) + 1, abs(x_end - x_start) + 1
            if size != (rows, columns):
                raise ConfigError(
                    f"{what} has {size[0]} rows and {size[1]} columns; a module has {rows} and {columns}.",
                    f"Both ends are included: they differ by {columns - 1} in x and {rows - 1} in y.",
                )
            inside = max(y_start, y_end) < self.image_shape[0] and max(x_start, x_end) < self.image_shape[1]
            if min(x_start, y_start, x_end, y_end) < 0 or not inside:
                raise ConfigError(
                    f"{what} leaves the image of {self.image_shape[0]} rows and "
                    f"{self.image_shape[1]} columns."
                )
        for (i, a), (j, b) in combinations(enumerate(self.positions), 2):
            if (
                abs(min(a[0], a[2]) - min(b[0], b[2])) < columns
                and abs(min(a[1], a[3]) - min(b[1], b[3])) < rows
            ):
                raise ConfigError(f"Positions of modules {i} and {j} overlap: {list(a)} and {list(b)}.")

    def assemble(self, modules: Array, fill: float = 0) -> Array:
        """Return the image, (row, column) of the type of `modules`, turned as asked.

        Parameters
        ----------
        modules:
            (module, row, column), as they lie in a slot.
        fill:
            Value of the pixels that no module has.
        """
        image = np.full(self.image_shape, fill, modules.dtype)
        for frame, (x_start, y_start, x_end, y_end) in zip(modules, self.positions, strict=True):
            top, left = min(y_start, y_end), min(x_start, x_end)
            rows, columns = self._module_shape
            place = image[top : top + rows, left : left + columns]
            place = place[:: 1 if y_start <= y_end else -1, :: 1 if x_start <= x_end else -1]
            for chip, chip_place in self._chips():
                place[chip_place] = frame[chip]
        return np.rot90(image, self.quarter_turns)

    @property
    def _chip_shape(self) -> tuple[int, int]:
        return self.chip_shape or self.frame_shape

    @property
    def _module_shape(self) -> tuple[int, int]:
        """(row, column) of a module with the gaps between its chips."""
        rows, columns = (
            size + (size // chip - 1) * self.chip_gap
            for size, chip in zip(self.frame_shape, self._chip_shape, strict=True)
        )
        return rows, columns

    def _chips(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Yield where each chip lies in the frame and in the module with its gaps."""
        (rows, columns), (chip_rows, chip_columns) = self.frame_shape, self._chip_shape
        for i in range(rows // chip_rows):
            for j in range(columns // chip_columns):
                row, column = i * chip_rows, j * chip_columns
                shifted_row, shifted_column = row + i * self.chip_gap, column + j * self.chip_gap
                yield (
                    (slice(row, row + chip_rows), slice(column, column + chip_columns)),
                    (
                        slice(shifted_row, shifted_row + chip_rows),
                        slice(shifted_column, shifted_column + chip_columns),
                    ),
                )


def eiger_geometry(image_shape: tuple[int, int], positions: tuple[Position, ...]) -> Geometry:
    """Return the geometry of EIGER ports: 256 x 512 pixels, two chips with a gap of 2 pixels."""
    return Geometry(image_shape, (256, 512), positions, EIGER_CHIP_SHAPE, EIGER_CHIP_GAP)
