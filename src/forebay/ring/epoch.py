"""When a pulse id that goes back is a late event, and when the counter has restarted."""

from __future__ import annotations

from typing import Final

LATE_NS: Final = 60_000_000_000
"""How much older than the newest event a late one may be; anything older belongs to a restarted clock."""


class EpochCounter:
    """Number the stretches between two restarts of a source's pulse counter, from 0.

    Pulse ids of one source grow. One that is smaller than the largest so far is either *late*, if its
    time too lies before the time of the largest one (by at most `LATE_NS`), or the counter has
    *restarted*, which begins the next epoch. A repeated pulse id stays in its epoch.

    Parameters
    ----------
    epoch, high, time_ns:
        Where to go on: the current epoch, its largest pulse id (-1: none yet) and the time of that.

    Attributes
    ----------
    epoch, high, time_ns:
        Where it stands.
    """

    def __init__(self, epoch: int = 0, high: int = -1, time_ns: int = 0) -> None:
        self.epoch = epoch
        self.high = high
        self.time_ns = time_ns

    def place(self, pulse_id: int, time_ns: int) -> int:
        """Return the epoch of the event that came next."""
        if pulse_id >= self.high:
            self.high, self.time_ns = pulse_id, time_ns
        elif not 0 < self.time_ns - time_ns <= LATE_NS:
            self.epoch += 1
            self.high, self.time_ns = pulse_id, time_ns
        return self.epoch
