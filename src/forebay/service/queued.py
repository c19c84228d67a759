"""A sink of readouts in a thread of its own, so that a slow disk does not hold up receiving."""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MOST = 20_000
"""Readouts that may wait: 340 MB, 20 s at 1 kHz."""


class _Sink(Protocol):
    def append(self, readouts: NDArray[np.void]) -> None: ...
    def close(self) -> None: ...


class QueuedSink:
    """Takes readouts at once and hands them to another sink in a thread.

    Parameters
    ----------
    sink:
        Used by the thread alone from now on.
    most:
        Readouts that may wait; what finds no room is dropped and counted.

    Attributes
    ----------
    counters:
        ``offered = taken + overflow``, and when it is closed and nothing failed, all taken are in the sink.
    """

    def __init__(self, sink: _Sink, most: int = MOST) -> None:
        self.counters = {"offered": 0, "taken": 0, "overflow": 0}
        self._sink = sink
        self._most = most
        self._waiting: deque[NDArray[np.void]] = deque()
        self._n_waiting = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    def append(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, whose memory must not change afterwards; never waits.

        Raises
        ------
        Exception
            What the sink raised; it is closed then and takes nothing more.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self.counters["offered"] += len(readouts)
            if self._n_waiting + len(readouts) > self._most:
                self.counters["overflow"] += len(readouts)
                return
            self.counters["taken"] += len(readouts)
            self._n_waiting += len(readouts)
            self._waiting.append(readouts)
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (readouts := self._next()) is not None:
                self._sink.append(readouts)
        except Exception as error:  # noqa: BLE001 - raised by the next append or by close
            self._failure = error
        try:
            self._sink.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._failure = self._failure or error

    def _next(self) -> NDArray[np.void] | None:
        with self._changed:
            while not self._waiting and not self._is_closing:
                self._changed.wait()
            if not self._waiting:
                return None
            readouts = self._waiting.popleft()
            self._n_waiting -= len(readouts)
            return readouts

    def close(self) -> None:
        """Wait until everything taken is in the sink, and close it; may be called twice.

        Raises
        ------
        Exception
            What the sink raised, once.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
