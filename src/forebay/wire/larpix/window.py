"""Counters that only grow, and how fast they grew in the last seconds."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Window:
    """Remembers counters as they were, about once a second.

    Parameters
    ----------
    window_s:
        Rates are means over so long: when nothing is counted any more, they are 0 after so long.
    """

    def __init__(self, window_s: float = 5.0) -> None:
        self.window_s = window_s
        self._past: deque[tuple[float, NDArray[np.int64]]] = deque()

    def advance(self, now_s: float, counts: NDArray[np.int64]) -> None:
        """Say what time it is and what was counted by now; the first axis may have grown."""
        self._past.append((now_s, counts.copy()))
        while len(self._past) > 2 and self._past[1][0] <= now_s - self.window_s:
            self._past.popleft()

    def rates(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return, in Hz, how fast the counters grew between the ends of the window; 0 for later rows."""
        rates = np.zeros(shape)
        if len(self._past) < 2:
            return rates
        (begin, before), (end, after) = self._past[0], self._past[-1]
        grown = after.astype(np.float64)
        grown[: len(before)] -= before
        if end > begin:
            rates[: len(grown)] = grown / (end - begin)
        return rates
