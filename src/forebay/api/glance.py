"""The status for many who ask at once: looked up a few times a second, however many they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from forebay.run.operator import Operator
from forebay.run.values import Status

RECENT_S = 0.25
"""How old an answer may be."""

_MOST = 1000


class Glance:
    """The last status of each proposal.

    Parameters
    ----------
    clock:
        Seconds; for tests.
    """

    def __init__(self, operator: Operator, clock: Callable[[], float] = time.monotonic) -> None:
        self._operator = operator
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, Status]] = {}

    def recent(self, proposal: str) -> Status | None:
        """Return the status if it was looked up just now; never waits."""
        seen = self._seen.get(proposal)
        return seen[1] if seen is not None and self._clock() - seen[0] < RECENT_S else None

    def look(self, proposal: str) -> Status:
        """Return the status, looked up by one of those who ask at the same time."""
        with self._lock:
            found = self.recent(proposal)
            if found is None:
                now = self._clock()
                found = self._operator.status(proposal)
                if len(self._seen) >= _MOST:
                    self._seen.clear()
                self._seen[proposal] = now, found
            return found
