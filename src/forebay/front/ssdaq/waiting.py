"""What a subscriber got and nobody fetched yet."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from forebay.errors import ConfigError

MOST_WAITING = 20_000
"""Messages that may wait in a subscriber unless it is told otherwise: two minutes of a camera at 144 Hz."""


class Waiting:
    """The newest of what came, in order; one thread at a time.

    Parameters
    ----------
    most:
        So many may wait. Older ones are dropped for newer ones and counted; it is said once.
    name:
        Who says so.
    logger:
        Where to; anything with a method ``warning``, None for that of this module.

    Raises
    ------
    ConfigError
        If `most` is less than 1.

    Attributes
    ----------
    n_dropped:
        How many were dropped.
    """

    def __init__(self, most: int, name: str, logger: Any = None) -> None:
        if most < 1:
            raise ConfigError(f"{most} messages cannot wait.", "Give 1 or more.")
        self._most, self._name = most, name
        self._logger = logger if hasattr(logger, "warning") else logging.getLogger(__name__)
        self._waiting: deque[Any] = deque(maxlen=most)
        self.n_dropped = 0

    def add(self, found: Sequence[Any]) -> None:
        """Append what came."""
        n = max(0, len(self._waiting) + len(found) - self._most)
        if n and not self.n_dropped:
            self._logger.warning(
                f"{self._name}: {self._most} messages wait and are not fetched; the oldest ones are dropped "
                "and counted (n_dropped). Fetch faster, or give it a larger most_waiting."
            )
        self.n_dropped += n
        self._waiting.extend(found)

    def take(self) -> Any:
        """Return the oldest one; `IndexError` if there is none."""
        return self._waiting.popleft()

    def take_all(self) -> list[Any]:
        """Return all, oldest first."""
        found = list(self._waiting)
        self._waiting.clear()
        return found

    def __len__(self) -> int:
        return len(self._waiting)
