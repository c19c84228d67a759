"""Several streams in one, in the order of their pulse ids."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from forebay.event import Event
from forebay.ports import Source

_POLL_S: Final = 0.05


class _Member:
    def __init__(self, source: Source, i_member: int) -> None:
        self.source = source
        self.i_member = i_member
        self.frontier = -1  # largest pulse id that it has given
        self.silent_since: float | None = None  # when it was asked first and had nothing
        self.queue: list[Event] = []
        self.is_over = False

    def take(self, timeout: float, clock: Callable[[], float]) -> None:
        events = self.source.read(timeout)
        if events is None:
            self.is_over = True
        elif events:
            self.silent_since = None
            self.queue += events
            self.frontier = max(self.frontier, *(event.pulse_id for event in events))
        elif self.silent_since is None:
            self.silent_since = clock()

    def is_waited_for(self, now: float, patience_s: float) -> bool:
        return self.silent_since is None or now - self.silent_since < patience_s


class Merged:
    """A source of all events of several sources by rising pulse id; of one pulse in the order of `sources`.

    The slowest source is read, so that little is held back of the others. For one thread.

    Parameters
    ----------
    sources:
        Each by rising pulse id; what it gives late goes out late.
    patience_s:
        How long the others wait for a source that gives nothing.
    clock:
        Seconds, monotonic.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        patience_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = [_Member(source, i) for i, source in enumerate(sources)]
        self._patience_s = patience_s
        self._clock = clock

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        end = self._clock() + timeout
        while True:
            going = [member for member in self._members if not member.is_over]
            now = self._clock()
            patient = [member for member in going if member.is_waited_for(now, self._patience_s)]
            if events := self._released(patient):
                return events
            if not going:
                return None
            left = max(0.0, end - now)
            slowest = min(patient or going, key=lambda member: member.frontier)
            for member in going:
                if member is not slowest and member not in patient:
                    member.take(0, self._clock)
            slowest.take(min(left, _POLL_S) if len(going) > 1 else left, self._clock)
            if slowest.queue or slowest.is_over:
                continue
            if left == 0:
                return ()

    def close(self) -> None:
        """Close all sources."""
        for member in self._members:
            member.source.close()

    def _released(self, patient: Sequence[_Member]) -> list[Event]:
        """Return what no source that is waited for can have anything before."""
        bound = min((member.frontier for member in patient), default=None)
        released: list[tuple[int, int, Event]] = []
        for member in self._members:
            is_due = [bound is None or event.pulse_id <= bound for event in member.queue]
            released += [
                (e.pulse_id, member.i_member, e) for e, due in zip(member.queue, is_due, strict=True) if due
            ]
            member.queue = [e for e, due in zip(member.queue, is_due, strict=True) if not due]
        released.sort(key=lambda one: one[:2])
        return [event for *_, event in released]
