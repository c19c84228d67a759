"""Files of readouts that say where the telescope pointed meanwhile (SSDAQ 0.9)."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.store.readout_series import ReadoutSeries
from forebay.stream.messages import MessageListener
from forebay.wire import cdts

MOST_WAITING = 10_000
"""Directions that wait for a file: 2.7 h of one a second."""


class PointingSeries:
    """A sink for readouts, beside which it takes what the receiver of telescope data publishes.

    Directions that come before the first readout wait for its file, the newest `MOST_WAITING` of them.

    Parameters
    ----------
    series:
        Of generation B; closed with this.
    ip, port:
        Where directions are published.

    Attributes
    ----------
    counters:
        ``pointings`` written, messages that were ``pointings_malformed``, and those ``pointings_not_written``
        because too many waited for a file, or none began.
    """

    def __init__(self, series: ReadoutSeries, ip: str, port: int) -> None:
        self.counters = dict.fromkeys(("pointings", "pointings_malformed", "pointings_not_written"), 0)
        self._series = series
        self._listener = MessageListener(ip, port)
        self._waiting: deque[bytes] = deque()
        self._is_closed = False

    def append(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, also none, and what came from the telescope; raises as `ReadoutSeries`."""
        self._series.append(readouts)
        self._take()

    def _take(self) -> None:
        self._waiting += self._listener.read(0.0)
        while self._waiting and self._write(self._waiting[0]):
            self._waiting.popleft()
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.counters["pointings_not_written"] += 1

    def _write(self, message: bytes) -> bool:
        try:
            one = cdts.decode(cdts.TELESCOPE, message)
        except WireError:
            self.counters["pointings_malformed"] += 1
            return True
        sec, nsec = one["time"].get("sec", 0), one["time"].get("nsec", 0)
        if sec < 0 or nsec < 0:
            self.counters["pointings_malformed"] += 1
            return True
        ra, dec = one.get("ra", 0.0), one.get("dec", 0.0)
        is_written = self._series.write_telescope(ra, dec, sec + nsec * 1e-9, sec, nsec)
        self.counters["pointings"] += is_written
        return is_written

    def close(self) -> None:
        """Write what came and finish the file that is open; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._take()
            self.counters["pointings_not_written"] += len(self._waiting)
        finally:
            self._listener.close()
            self._series.close()
