"""What a hub told since it was started, for listeners of the hub before it, who come back a moment later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from forebay.run.bus.pattern import matches

MOST_MESSAGES = 2000
MOST_BYTES = 16 * 2**20


class Recent:
    """The last messages told, oldest first; bounded in number and bytes."""

    def __init__(self) -> None:
        self._kept: deque[tuple[str, str, bytes]] = deque()
        self._n_bytes = 0

    def add(self, channel: str, key: str, message: bytes) -> None:
        """Remember one; the oldest are forgotten for it."""
        self._kept.append((channel, key, message))
        self._n_bytes += len(message)
        while len(self._kept) > MOST_MESSAGES or self._n_bytes > MOST_BYTES:
            self._n_bytes -= len(self._kept.popleft()[2])

    def of(self, channel: str, pattern: str) -> Iterator[bytes]:
        """Yield what was told on a channel under keys of a pattern."""
        for one, key, message in self._kept:
            if one == channel and matches(pattern, key):
                yield message
