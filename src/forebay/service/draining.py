"""The end of listening: what was on its way at a stop is taken, and nobody who goes on is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sized
from typing import TypeVar

DRAIN_S = 0.5
"""What was sent before a stop has come by then, also on a busy host; it takes longer where much waits."""

MOST = 25_000
"""Messages that can be on their way: two queues of 10 000, and what kernels hold."""

_POLL_S = 0.1

_B = TypeVar("_B", bound=Sized)


def until_stopped(
    read: Callable[[float], _B], stop: threading.Event, drain_s: float = DRAIN_S, most: int = MOST
) -> Iterator[_B]:
    """Yield what comes until `stop`, then what was on its way; batches may be empty.

    It ends when nothing waits and `drain_s` seconds have passed since the stop, or when `most` messages have
    come since: a sender that never pauses is not waited for.

    Parameters
    ----------
    read:
        Returns the messages that wait, and waits at most so many seconds for the first.
    """
    while not stop.is_set():
        yield read(_POLL_S)
    end, n = time.monotonic() + drain_s, 0
    while n < most:
        left = end - time.monotonic()
        batch = read(max(left, 0.0))
        if not len(batch):
            return
        n += len(batch)
        yield batch
