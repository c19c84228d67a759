"""The readouts that wait for their modules: rows of fixed memory, looked up by time tag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forebay.wire.ssreadout import READOUT
from forebay.wire.target import N_MODULES, millivolts

_FAR = 2**62
_LOOK = 64  # readouts that are asked together whether they are complete

_Ints = NDArray[np.int64]


class OpenReadouts:
    """Readouts in the making, in the order of their time tags.

    Positions count from the oldest one; rows are places in memory and stay.

    Parameters
    ----------
    n_rows:
        Most that can be open.
    """

    def __init__(self, n_rows: int) -> None:
        self._rows = np.empty(n_rows, READOUT)  # pages that are never used take no memory
        self._there = np.zeros((n_rows, N_MODULES), bool)
        self._opened_ns = np.zeros(n_rows, np.int64)
        self._free = list(range(n_rows))[::-1]
        self._times = np.empty(0, np.int64)
        self._order = np.empty(0, np.int64)  # row of each position

    def __len__(self) -> int:
        return len(self._times)

    def newest(self, default: int) -> int:
        """Return the newest time tag."""
        return int(self._times[-1]) if len(self._times) else default

    def nearest(self, times: _Ints, window: int, last: int) -> tuple[_Ints, NDArray[np.bool_]]:
        """Find the readout of each block: the nearest within the window.

        Parameters
        ----------
        times:
            (block,) time tags.
        last:
            Time tag of the newest readout that is gone; -1 if none is.

        Returns
        -------
        Row of each block, -1 where no readout is near; and which blocks are late: those nearest to what is
        gone, and those before it.
        """
        rows = np.full(len(times), -1)
        distance = np.full(len(times), _FAR)
        if len(self._times):
            right = np.searchsorted(self._times, times)
            left = np.maximum(right - 1, 0)
            np.minimum(right, len(self._times) - 1, out=right)
            to_left = np.abs(times - self._times[left])
            to_right = np.abs(self._times[right] - times)
            distance = np.minimum(to_left, to_right)
            is_near = distance < window
            found = np.where(to_right < to_left, right, left)
            rows[is_near] = self._order[found[is_near]]
        if last < 0:
            return rows, np.zeros(len(times), bool)
        to_last = np.abs(times - last)
        late = (to_last <= distance) & (to_last < window) | (times < last) & (rows < 0)
        return rows, late

    def rows_for(self, times: _Ints, rows: _Ints, window: int, arrived_ns: int, now_ns: int) -> _Ints:
        """Return `rows` with a new readout for each group of blocks that have none."""
        new = np.flatnonzero(rows < 0)
        if not len(new):
            return rows
        by_time = new[np.argsort(times[new], kind="stable")]
        begins = np.empty(len(new), bool)
        begins[0] = True
        np.greater_equal(np.diff(times[by_time]), window, out=begins[1:])
        starts = np.flatnonzero(begins)
        first = np.minimum.reduceat(by_time, starts)  # the block of each group that came first
        opened = self.open(times[first], arrived_ns, now_ns)
        rows = rows.copy()
        rows[by_time] = np.repeat(opened, np.diff(np.append(starts, len(new))))
        return rows

    def open(self, times: _Ints, arrived_ns: int, now_ns: int) -> _Ints:
        """Begin a readout for each time tag and return their rows."""
        n = len(times)
        rows = np.array(self._free[-n:], np.int64)
        del self._free[-n:]
        self._rows["time_ns"][rows] = times
        self._rows["arrived_ns"][rows] = arrived_ns
        self._rows["data"][rows] = np.nan
        self._rows["timestamps"][rows] = 0
        self._there[rows] = False
        self._opened_ns[rows] = now_ns
        merged = np.concatenate([self._times, times])
        order = np.argsort(merged, kind="stable")
        self._times = merged[order]
        self._order = np.concatenate([self._order, rows])[order]
        return rows

    def tags(self, rows: _Ints, modules: _Ints) -> NDArray[np.uint64]:
        """Return the time tags that are there already, 0 where none is; (block,)."""
        tags: NDArray[np.uint64] = self._rows["timestamps"][rows, modules, 0]
        return tags

    def place(self, rows: _Ints, modules: _Ints, blocks: NDArray[np.void]) -> None:
        """Write blocks into their readouts."""
        self._rows["data"][rows, modules] = millivolts(blocks)
        tags = self._rows["timestamps"]
        tags[rows, modules, 0] = blocks["time_ns"]
        tags[rows, modules, 1] = blocks["aux_time_ns"]
        self._there[rows, modules] = True

    def n_done(self, awaited: NDArray[np.bool_], at: _Ints, patience_ns: int) -> int:
        """Return how many of the oldest readouts need not wait for any module.

        Parameters
        ----------
        awaited:
            (module,) modules that a complete readout has.
        at:
            (module,) newest time tag of each module; one that is further than `patience_ns` beyond a readout
            will not send a block of it any more.
        """
        absent = ~awaited
        for start in range(0, len(self._order), _LOOK):
            rows = self._order[start : start + _LOOK]
            passed = at - self._times[start : start + _LOOK, None] > patience_ns
            done = (self._there[rows] | absent | passed).all(axis=1)
            if not done.all():
                return start + int(np.argmin(done))
        return len(self._order)

    def overdue(self, since_ns: int) -> _Ints:
        """Return the positions of readouts that were opened at `since_ns` or before."""
        return np.flatnonzero(self._opened_ns[self._order] <= since_ns)

    def state(self, position: int) -> tuple[int, int, Sequence[int]]:
        """Return time tag, time of opening, and for each module whether it is there."""
        row = int(self._order[position])
        return int(self._times[position]), int(self._opened_ns[row]), self._there[row].tolist()

    def drop(self, positions: Sequence[int]) -> int:
        """Forget readouts; return how many blocks they had."""
        rows = self._order[list(positions)]
        self._free += rows.tolist()
        self._times = np.delete(self._times, positions)
        self._order = np.delete(self._order, positions)
        return int(self._there[rows].sum())

    def take(self, n: int, expected: NDArray[np.bool_]) -> tuple[NDArray[np.void], int, int]:
        """Take the `n` oldest readouts.

        Returns
        -------
        The readouts, their number of blocks, and how many of them lack an expected module.
        """
        rows = self._order[:n]
        there = self._there[rows]
        lacking = int(np.count_nonzero((expected & ~there).any(axis=1)))
        readouts = self._rows[rows]
        self._free += rows.tolist()
        self._times, self._order = self._times[n:], self._order[n:]
        return readouts, int(there.sum()), lacking
