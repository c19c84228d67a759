"""One to many, for eyes: never waits, and counts what was not sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import zmq

from forebay.errors import RingError, WireError
from forebay.event import Event
from forebay.stream.socket import Socket

Encode = Callable[[Event, int], Sequence[bytes | memoryview]]
"""Makes the message of an event and its sequence number."""

COUNTERS = ("offered", "sent", "rate_limited", "unwatched", "unreadable", "congested")


class Broadcast:
    """A bound XPUB socket, a rate limit and an account of every event.

    Attributes
    ----------
    counters:
        ``offered = sent + rate_limited + unwatched + unreadable``: events given; handed to ZeroMQ; skipped
        for the rate; offered when nobody had subscribed; overwritten in their ring before they could be
        sent, or of a kind that cannot be sent. ``congested``, at most ``sent``: events at which the queue of
        a subscriber was found full. ZeroMQ passes that one over until it has caught up and does not say how
        often: 0 means that nobody missed anything, and the subscriber's own ``lost`` is the exact number.
    endpoint:
        Where it is bound; the port is the real one.
    """

    def __init__(
        self, endpoint: str, *, rate_hz: float | None, hwm: int, public: bool, clock: Callable[[], float]
    ) -> None:
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._socket = Socket(zmq.XPUB, endpoint, bind=True, hwm=hwm, public=public)
        self._socket.set(zmq.XPUB_NODROP, 1)
        self.endpoint = self._socket.endpoint
        self._period = 1 / rate_hz if rate_hz is not None else 0.0
        self._due = clock()
        self._clock = clock
        self._n_topics = 0
        self._sequence = 0

    def write(self, events: Sequence[Event], encode: Encode) -> None:
        """Send these events, or, under a rate limit, the newest of them if it is time.

        Every event that the rate does not skip takes a sequence number, sent or not, so that a subscriber
        sees what it missed.
        """
        due = self._select(events)
        self.counters["offered"] += len(events)
        self.counters["rate_limited"] += len(events) - len(due)
        for event in due:
            sequence = self._sequence
            self._sequence += 1
            self.counters[self._publish(event, sequence, encode)] += 1

    def close(self, linger: float) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        self._socket.close(linger)

    def _select(self, events: Sequence[Event]) -> Sequence[Event]:
        if not self._period or not events:
            return events
        now = self._clock()
        if now < self._due:
            return ()
        late = now - self._due
        self._due = (self._due if late < self._period else now) + self._period
        return events[-1:]

    def _publish(self, event: Event, sequence: int, encode: Encode) -> str:
        if not self._is_watched():
            return "unwatched"
        try:
            parts = encode(event, sequence)
        except (RingError, WireError):
            return "unreadable"
        if not self._socket.send(parts):
            # The full queue of one subscriber must not keep the event from the others: drop for that one.
            self._socket.set(zmq.XPUB_NODROP, 0)
            self._socket.send(parts)
            self._socket.set(zmq.XPUB_NODROP, 1)
            self.counters["congested"] += 1
        return "sent"

    def _is_watched(self) -> bool:
        while (message := self._socket.receive()) is not None:
            if message and message[0][:1] == b"\1":
                self._n_topics += 1
            elif message and message[0][:1] == b"\0":
                self._n_topics -= 1
        return self._n_topics > 0
