"""How far apart in time the readouts of a camera follow each other, as seen from its modules."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

_ENOUGH = 8  # distances that make a median worth its name
_KEPT = 32


class Spacing:
    """The usual distance of neighbouring time tags of one module.

    Two blocks of one module are never of the same readout, so that their distance says how close
    readouts may lie, whatever the window of the configuration.

    Parameters
    ----------
    n_modules:
        How many there are.
    longest_ns:
        Distances beyond this are pauses.
    """

    def __init__(self, n_modules: int, longest_ns: int) -> None:
        self._newest = np.full(n_modules, -1, np.int64)  # time tag of each module
        self._longest_ns = longest_ns
        self._recent: deque[int] = deque(maxlen=_KEPT)
        self.median_ns = longest_ns
        """Half of the distances are shorter; `longest_ns` while there are none."""

    def learn(self, time_ns: NDArray[np.int64], module: NDArray[np.int64]) -> None:
        """Take the time tags of a batch, (block,) both."""
        if not len(time_ns):
            return
        order = np.lexsort((time_ns, module))
        times, modules = time_ns[order], module[order]
        begins = np.empty(len(times), bool)
        begins[:1] = True
        np.not_equal(modules[1:], modules[:-1], out=begins[1:])
        before = np.empty_like(times)
        before[1:] = times[:-1]
        before[begins] = self._newest[modules[begins]]
        distances = times - before
        distances = distances[(before >= 0) & (distances > 0) & (distances <= self._longest_ns)]
        ends = np.append(begins[1:], True)
        self._newest[modules[ends]] = times[ends]
        if not len(distances):
            return
        self._recent.extend(distances[:_KEPT].tolist())
        known = distances if len(distances) >= _ENOUGH else np.array(self._recent)
        lower = (len(known) - 1) // 2  # of two in the middle the shorter: the other may be a pause
        self.median_ns = int(np.partition(known, lower)[lower])
