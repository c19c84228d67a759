"""How often each module of a camera is in its readouts, for eyes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forebay.wire.camera_map import MODULES_OF_ROW, FaceLayout
from forebay.wire.ssreadout import present
from forebay.wire.target import N_MODULES

_NUMBERED = FaceLayout()
_CELL = 5  # columns of a rate
_WIDTH = _CELL * max(MODULES_OF_ROW)


class ModuleRates:
    """How often each module was in the readouts of the last seconds, by their time tags.

    Parameters
    ----------
    over_ns:
        How far back; older readouts are forgotten.
    """

    def __init__(self, over_ns: int = 5 * 10**9) -> None:
        self._over_ns = over_ns
        self._times: NDArray[np.int64] = np.empty(0, np.int64)
        self._there: NDArray[np.bool_] = np.empty((0, N_MODULES), bool)

    def add(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, (readout,) of `forebay.wire.ssreadout.READOUT`, oldest first."""
        if not len(readouts):
            return
        times = np.concatenate([self._times, readouts["time_ns"].astype(np.int64)])
        there = np.concatenate([self._there, present(readouts)])
        recent = np.abs(times - times[-1]) <= self._over_ns  # also where the clock was set back
        self._times, self._there = times[recent], there[recent]

    @property
    def hz(self) -> NDArray[np.float64]:
        """Return the rate of each module, (module,); 0 before there are two readouts."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return np.zeros(N_MODULES)
        seconds = (self._times[-1] - self._times[0]) * 1e-9
        period = seconds / (len(self._times) - 1)
        found: NDArray[np.float64] = self._there.sum(axis=0) / (seconds + period)
        return found

    def lines(self, layout: FaceLayout = _NUMBERED) -> list[str]:
        """Say the rates of all modules in the rows of the camera, and which of them lose readouts."""
        hz = self.hz
        most = hz.max()
        rows = []
        for modules in layout.rows:
            row = "".join(f"{_short(hz[module]):>{_CELL}}" for module in modules)
            rows.append(row.center(_WIDTH).rstrip())
        said = [f"{_short(most)} readouts/s; by module:", *rows]
        dead = [str(i) for i, one in enumerate(hz) if one == 0 and most > 0]
        slow = [f"{i} ({100 * (1 - one / most):.1f} %)" for i, one in enumerate(hz) if 0 < one < most]
        if dead:
            said.append(f"SEND NOTHING: {', '.join(dead)}")
        if slow:
            said.append(f"LOSE READOUTS: {', '.join(slow)}")
        return said if dead or slow or not most else [*said, "every module sends everything"]


def _short(hz: float) -> str:
    """Return a rate in four characters: 0, 9.97, 33.3, 997."""
    return f"{hz:.{max(0, 2 - max(0, int(np.log10(max(hz, 1)))))}f}" if hz else "0"
