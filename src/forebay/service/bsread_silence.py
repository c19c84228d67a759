"""A stream that nothing comes from is said to be silent, so that who waits for it knows where to look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from forebay.event import Event
from forebay.ports import Source

SILENT_S: Final = 5.0
"""So long nothing comes before it is said."""

Tell = Callable[[str, Mapping[str, object]], None]


class Audible:
    """A source that tells when nothing comes from it, once, and when something comes again.

    Parameters
    ----------
    source:
        Read, and closed with this one.
    name, mode:
        Its address and how it is connected to, for people.
    tell:
        Called with what happened and its fields.
    clock:
        Seconds, monotonic.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        mode: str,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._name = name
        self._mode = mode
        self._tell = tell
        self._clock = clock
        self._heard = clock()
        self._is_silent = False

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        events = self._source.read(timeout)
        now = self._clock()
        if events:
            if self._is_silent:
                self._tell("messages come", {"stream": self._name, "silent_s": round(now - self._heard, 1)})
            self._heard, self._is_silent = now, False
        elif events is not None and not self._is_silent and now - self._heard >= SILENT_S:
            self._is_silent = True
            self._tell("nothing comes", {"stream": self._name, "todo": self._todo()})
        return events

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _todo(self) -> str:
        kind, other = ("PUSH", "sub") if self._mode == "pull" else ("PUB", "pull")
        return f"Is its source running, under this address, and does it send as {kind}? If not: mode {other}."
