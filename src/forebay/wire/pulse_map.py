"""Which pulse a time belongs to, from the times at which pulse ids were seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forebay.errors import RangeError
from forebay.pulse import PulseRange

REACH: Final = 1000
"""Pulses between an end of a range and the nearest known pulse, beyond which the range is not known."""

REACH_NS: Final = 10_000_000_000
"""How long after a pulse a value may still belong to it: a counter that stopped names no later values."""


class Span(NamedTuple):
    """The time of a pulse range, ends included: as stamped, and as received by us (ns since 1970)."""

    first_ns: int
    last_ns: int
    received_first_ns: int
    received_last_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class PulseMap:
    """Times of pulses; make it with `PulseMap.of`. All arrays are (pulse,) and grow.

    Attributes
    ----------
    pulse_id, timestamp_ns, received_ns:
        The pulses, when their clock stamped them and when they came to us.
    n_refused:
        Pulses left out because id or time did not grow.
    """

    pulse_id: NDArray[np.int64]
    timestamp_ns: NDArray[np.int64]
    received_ns: NDArray[np.int64]
    n_refused: int = 0

    @classmethod
    def of(cls, pulse_id: Any, timestamp_ns: Any, received_ns: Any) -> PulseMap:
        """Make a map from pulses in order of arrival; those that do not grow in everything are refused."""
        ids, stamps, arrivals = (np.asarray(a, np.int64) for a in (pulse_id, timestamp_ns, received_ns))
        if ids.size:
            grows = np.ones(ids.size, np.bool_)
            for column in (ids, stamps):
                grows[1:] &= column[1:] > np.maximum.accumulate(column)[:-1]
            kept = np.flatnonzero(grows)
            ids, stamps, arrivals = ids[kept], stamps[kept], np.maximum.accumulate(arrivals[kept])
        return cls(ids, stamps, arrivals, np.asarray(pulse_id).size - ids.size)

    def span(self, pulses: PulseRange) -> Span:
        """Return the time from the newest known pulse at or before the range to the oldest at or after it.

        Raises
        ------
        RangeError
            If either is not known or more than `REACH` pulses away.
        """
        i_first = int(np.searchsorted(self.pulse_id, pulses.first, "right")) - 1
        i_last = int(np.searchsorted(self.pulse_id, pulses.last, "left"))
        if i_first < 0 or pulses.first - self.pulse_id[i_first] > REACH:
            raise self._unknown(pulses, f"no pulse within {REACH} before {pulses.first}")
        if i_last == self.pulse_id.size or self.pulse_id[i_last] - pulses.last > REACH:
            raise self._unknown(pulses, f"no pulse within {REACH} after {pulses.last}")
        return Span(
            int(self.timestamp_ns[i_first]),
            int(self.timestamp_ns[i_last]),
            int(self.received_ns[i_first]),
            int(self.received_ns[i_last]),
        )

    def at(
        self, timestamp_ns: NDArray[np.int64], *, tie: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the pulse of each time and whether it is known; where it is not, the id means nothing.

        It is the newest pulse at or before the time. A value that was stamped by the very event that
        stamped the pulse has the very same time, and belongs to it. (std_daq_service gave it to the pulse
        before: `tie` False does so.) Times before the first pulse, or more than `REACH_NS` after one, have
        no known pulse.
        """
        if not self.pulse_id.size:
            return np.zeros(len(timestamp_ns), np.int64), np.zeros(len(timestamp_ns), np.bool_)
        i = np.searchsorted(self.timestamp_ns, timestamp_ns, "right" if tie else "left") - 1
        nearest = np.maximum(i, 0)
        is_known = (i >= 0) & (timestamp_ns - self.timestamp_ns[nearest] <= REACH_NS)
        return np.where(is_known, self.pulse_id[nearest], 0), is_known

    def _unknown(self, pulses: PulseRange, why: str) -> RangeError:
        there = f"{self.pulse_id[0]}..{self.pulse_id[-1]}" if self.pulse_id.size else "none"
        return RangeError(
            f"The time of pulses {pulses} is not known: {why}; known near it are {there}.",
            "Ask for pulses that the pulse-id PV has shown, once they have passed.",
        )
