"""Blocks that were refused, kept until it is known whether the clock of the camera went where they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forebay.wire.target import BLOCK

REFUSED: np.dtype[np.void] = np.dtype(
    [("module", "<u2"), ("reason", "<u2"), ("is_quiet", "<u4"), ("arrived_ns", "<u8"), ("block", BLOCK)]
)
"""A block that belongs to no readout, as native code hands it over; ``reason`` is a position in `REASONS`.

``is_quiet``: nothing was accepted for as long as a readout may wait before it came.
"""

REASONS = ("late", "duplicate", "implausible")

_MOST = 256
"""Blocks kept of one module, the newest: what comes until the other modules have moved, too."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One refused block: its time tag, its bytes, and the counter that it was counted in."""

    time_ns: int
    block: NDArray[np.void]
    reason: str


class Suspects:
    """The refused blocks of each module since the last one of it that was accepted."""

    def __init__(self, n_modules: int) -> None:
        self._of: list[deque[Suspect]] = [deque(maxlen=_MOST) for _ in range(n_modules)]

    @property
    def n_modules(self) -> int:
        """How many modules have suspects."""
        return sum(map(bool, self._of))

    def keep(self, module: int, suspect: Suspect) -> None:
        """Keep a block; where there are too many of its module, the oldest one goes."""
        self._of[module].append(suspect)

    def forget(self, modules: Iterable[int]) -> None:
        """Forget those of modules that go on as before."""
        for module in modules:
            if self._of[module]:
                self._of[module].clear()

    def take(self, time_ns: int, reach_ns: int) -> list[tuple[int, Suspect]]:
        """Return module and block of those within reach of a time tag, and forget all."""
        found = [
            (module, one)
            for module, of_module in enumerate(self._of)
            for one in of_module
            if abs(one.time_ns - time_ns) <= reach_ns
        ]
        self.forget(range(len(self._of)))
        return found
