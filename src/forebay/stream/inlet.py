"""The receiving end of a stream of events: an account of every message, and nothing that kills it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forebay.errors import RingError, WireError
from forebay.event import Event
from forebay.stream.sequence import Sequence as Numbers
from forebay.stream.socket import Socket
from forebay.wire.envelope import decode

Resolve = Callable[[Event], Event]
"""Returns the event whose pixels an event's `reference` names; `RingError` if they are gone."""

MAX_DRAIN = 10_000
"""Messages after which "latest only" stops looking for a newer one."""


class Inlet:
    """Reads envelopes from a socket; one thread at a time.

    Parameters
    ----------
    latest_only:
        Return only the newest event that is there.
    resolve:
        Called for each event that came as a reference.
    """

    def __init__(self, socket: Socket, *, latest_only: bool, resolve: Resolve | None) -> None:
        self._socket = socket
        self._latest_only = latest_only
        self._resolve = resolve
        self._numbers = Numbers()
        self._counters = dict.fromkeys(("received", "events", "malformed", "skipped", "unresolved"), 0)

    @property
    def endpoint(self) -> str:
        """Where it is bound or connected."""
        return self._socket.endpoint

    @property
    def counters(self) -> dict[str, int]:
        """``received = events + malformed + duplicate + skipped + unresolved``, and what never came.

        ``events`` were returned; ``malformed`` are no envelope; ``duplicate`` came twice; ``skipped`` had a
        newer one behind them ("latest only"); ``unresolved`` had left their ring. ``lost`` are gaps in a
        publisher's numbers; ``before`` is what publishers had offered before we heard of them; ``senders``
        counts publishers, each start of one.
        """
        numbers = self._numbers
        return self._counters | {
            "duplicate": numbers.duplicate,
            "lost": numbers.lost,
            "before": numbers.before,
            "senders": numbers.senders,
        }

    def read(self, timeout: float, most: int = 256) -> Sequence[Event] | None:
        """Return the events that are there, at most `most`; wait up to `timeout` seconds for the first.

        ``()`` or ``[]`` means nothing yet, None that this end was closed.
        """
        if self._socket.closed:
            return None
        events: list[Event] = []
        for _ in range(MAX_DRAIN if self._latest_only else most):
            parts = self._socket.receive(timeout)
            if parts is None:
                break
            timeout = 0.0
            event = self._accept(parts)
            if event is None:
                continue
            if self._latest_only and events:
                self._counters["skipped"] += 1
                events.clear()
            events.append(event)
        if self._resolve is not None:
            events = [resolved for event in events if (resolved := self._resolved(event)) is not None]
        self._counters["events"] += len(events)
        return events

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        self._socket.close()

    def _accept(self, parts: Sequence[bytes | memoryview]) -> Event | None:
        self._counters["received"] += 1
        try:
            envelope = decode(parts)
        except WireError:
            self._counters["malformed"] += 1
            return None
        return envelope.event if self._numbers.accept(envelope.instance, envelope.sequence) else None

    def _resolved(self, event: Event) -> Event | None:
        if event.reference is None or self._resolve is None:
            return event
        try:
            return self._resolve(event)
        except RingError:
            self._counters["unresolved"] += 1
            return None
