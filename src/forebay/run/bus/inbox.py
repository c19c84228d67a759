"""What came for one listener and was not read yet: bounded, for several threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

INBOX_MESSAGES = 100_000
"""Messages that may wait for one listener; beyond it the oldest are dropped and counted."""


class Inbox(Generic[T]):
    """A bounded queue whose writer never waits.

    Attributes
    ----------
    n_lost:
        Messages that this listener missed, because it did not read in time or the bus could not pass them on.
    """

    def __init__(self, size: int = INBOX_MESSAGES) -> None:
        self._waiting: deque[T] = deque()
        self._size = size
        self._changed = threading.Condition()
        self._closed = False
        self.n_lost = 0

    def put(self, item: T) -> None:
        """Add one; the oldest gives way when the inbox is full."""
        with self._changed:
            if len(self._waiting) >= self._size:
                self._waiting.popleft()
                self.n_lost += 1
            self._waiting.append(item)
            self._changed.notify()

    def get(self, timeout: float) -> T | None:
        """Return the oldest; None if none came within `timeout` seconds, or at once when closed."""
        end = time.monotonic() + timeout
        with self._changed:
            while not self._waiting:
                left = end - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)
            return self._waiting.popleft()

    def clear(self) -> None:
        """Forget what waits."""
        with self._changed:
            self._waiting.clear()

    def close(self) -> None:
        """Wake whoever waits; nothing will come any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._waiting)
