"""A source of just those events that a request asks for; it ends when there can be no more."""

from __future__ import annotations

import time
from collections.abc import Sequence

from forebay.event import Event
from forebay.ports import Source
from forebay.store.manifest import Request


class Selected:
    """Passes on what `request` asks for.

    * pulses: members of the range; over when a pulse at or behind its last one came.
    * images: so many events from now on.
    * seconds: events whose first packet arrived from now on, for so long.

    Attributes
    ----------
    reason:
        Why it ended: ``last pulse``, ``count reached``, ``time over`` or ``nothing came for N s``; empty
        before.

    Parameters
    ----------
    idle_s:
        End when nothing at all has come for so long.
    late_s:
        Longest time from a pulse's first packet to its release.
    """

    def __init__(self, source: Source, request: Request, *, idle_s: float, late_s: float) -> None:
        self.reason = ""
        self._source = source
        self._range = request.range
        self._n_left = request.images
        self._idle_s = idle_s
        self._heard = time.monotonic()
        self._first_ns = time.time_ns()
        self._end_ns: int | None = None
        self._give_up: float | None = None
        if request.seconds is not None:
            self._end_ns = self._first_ns + int(request.seconds * 1e9)
            self._give_up = self._heard + request.seconds + late_s

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        if self.reason:
            return None
        events = self._source.read(timeout)
        now = time.monotonic()
        if events:
            self._heard = now
            return [event for event in events if self._takes(event)]
        if events is None:
            self.reason = "the source ended"
        elif self._give_up is not None and now > self._give_up:
            self.reason = "time over"
        elif now - self._heard > self._idle_s:
            self.reason = f"nothing came for {self._idle_s:g} s"
        return None if self.reason else ()

    def _takes(self, event: Event) -> bool:
        if self.reason:
            return False
        if self._range is not None:
            if event.pulse_id >= self._range.last:
                self.reason = "last pulse"
            return event.pulse_id in self._range
        if self._end_ns is not None:
            if event.time_ns >= self._end_ns:
                self.reason = "time over"
                return False
            return event.time_ns >= self._first_ns
        if self._n_left is not None:
            self._n_left -= 1
            if self._n_left == 0:
                self.reason = "count reached"
        return True

    def close(self) -> None:
        """Nothing to let go of: the source belongs to the caller."""
