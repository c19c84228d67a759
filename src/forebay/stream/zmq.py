"""Events over ZeroMQ: published for eyes, pushed where nothing may be lost.

`Publisher` and `Puller` bind, `Subscriber` and `Pusher` connect and connect again. Each object belongs to
one thread at a time and has a ZeroMQ context of its own. Nothing waits for ever: not a write, not a close.

On ``ipc://`` an event with a reference into a shared ring travels as that reference; on ``tcp://`` with its
pixels. Arrays of 64 KiB and more are handed to ZeroMQ as they are: they must not change after `write`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import zmq

from forebay.errors import StreamError
from forebay.event import Event
from forebay.stream.broadcast import Broadcast
from forebay.stream.inlet import Inlet, Resolve
from forebay.stream.socket import Socket
from forebay.wire.envelope import Part, encode

__all__ = ["Publisher", "Puller", "Pusher", "Subscriber"]


def default_hwm(endpoint: str) -> int:
    """Return how many messages may wait for each peer: many references, few images."""
    return 1000 if endpoint.startswith("ipc:") else 64


class Publisher:
    """A sink that sends to whoever subscribed, and never waits.

    Parameters
    ----------
    endpoint:
        Where it binds, see `forebay.stream.endpoint`.
    pixels:
        Send pixels (True) or references only (False); None decides by endpoint and event.
    compressed:
        Send images as bitshuffle-LZ4.
    rate_hz:
        Send the newest event, at most so often; None sends all.
    hwm:
        Events that may wait for each subscriber; times their size it is the memory a slow one costs.
    public:
        Allow other hosts to connect.

    Attributes
    ----------
    counters:
        See `forebay.stream.broadcast.Broadcast`.
    endpoint:
        Where it is bound; the port is the real one.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        pixels: bool | None = None,
        compressed: bool = False,
        rate_hz: float | None = None,
        hwm: int | None = None,
        public: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broadcast = Broadcast(
            endpoint, rate_hz=rate_hz, hwm=hwm or default_hwm(endpoint), public=public, clock=clock
        )
        self.endpoint = self._broadcast.endpoint
        self.counters = self._broadcast.counters
        self._encode = _Encoder(endpoint, pixels, compressed)

    def write(self, events: Sequence[Event]) -> None:
        """Send these events; `StreamError` after `close`."""
        self._broadcast.write(events, self._encode)

    def close(self, linger: float = 0.5) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        self._broadcast.close(linger)


class Subscriber(Inlet):
    """A source of what one or several publishers send from now on.

    Parameters
    ----------
    endpoints:
        Of the publisher, or of several.
    latest_only:
        Return only the newest event that is there; the skipped ones are counted.
    resolve:
        Finds the pixels of an event that came as a reference, as a rule in the shared ring.
    hwm:
        Messages of each publisher that may wait on this side.
    public:
        Allow sockets in directories of other users.
    """

    def __init__(
        self,
        *endpoints: str,
        latest_only: bool = False,
        resolve: Resolve | None = None,
        hwm: int | None = None,
        public: bool = False,
    ) -> None:
        if not endpoints:
            raise StreamError("A subscriber without an endpoint receives nothing.", "Name at least one.")
        socket = Socket(
            zmq.SUB, endpoints[0], bind=False, hwm=hwm or default_hwm(endpoints[0]), public=public
        )
        for endpoint in endpoints[1:]:
            socket.connect(endpoint, public=public)
        super().__init__(socket, latest_only=latest_only, resolve=resolve)


class Pusher:
    """A sink for the one reader that may lose nothing; it waits for a slow one.

    What the reader has not taken yet waits here and survives the reader's restart; what a killed reader
    had already taken in is gone, and its successor counts it as ``before``.

    Parameters
    ----------
    endpoint:
        Where the `Puller` binds.
    timeout_s:
        Longest wait for room in the queue, for each event.
    hwm:
        Events that may wait on this side.

    Attributes
    ----------
    counters:
        ``offered = sent + not_sent``. What was not sent takes sequence numbers too: the puller sees a gap.
    endpoint:
        Where it is connected.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_s: float = 5.0,
        pixels: bool | None = None,
        compressed: bool = False,
        hwm: int | None = None,
        public: bool = False,
    ) -> None:
        self.counters = dict.fromkeys(("offered", "sent", "not_sent"), 0)
        self._socket = Socket(zmq.PUSH, endpoint, bind=False, hwm=hwm or default_hwm(endpoint), public=public)
        self.endpoint = self._socket.endpoint
        self._encode = _Encoder(endpoint, pixels, compressed)
        self._timeout_s = timeout_s
        self._sequence = 0

    def write(self, events: Sequence[Event]) -> None:
        """Send these events in order.

        Raises
        ------
        StreamError
            If the queue stayed full for the time-out, or after `close`.
        RingError, WireError
            If an event was overwritten in its ring before it could be sent, or cannot be sent at all.

        The event that failed and those behind it are counted as not sent.
        """
        n_sent = 0
        try:
            for event in events:
                message = self._encode(event, self._sequence + n_sent)
                if not self._socket.send(message, self._timeout_s):
                    raise StreamError(
                        f"Nobody took event {event.pulse_id} of {event.source!r} within "
                        f"{self._timeout_s} s from {self.endpoint}.",
                        "Check that the reader of this stream runs and keeps up.",
                    )
                n_sent += 1
        finally:
            self._sequence += len(events)
            self.counters["offered"] += len(events)
            self.counters["sent"] += n_sent
            self.counters["not_sent"] += len(events) - n_sent

    def close(self, linger: float = 5.0) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        self._socket.close(linger)


class Puller(Inlet):
    """The one reader of any number of pushers; parameters as of `Subscriber`.

    `public` allows other hosts to connect.
    """

    def __init__(
        self, endpoint: str, *, resolve: Resolve | None = None, hwm: int | None = None, public: bool = False
    ) -> None:
        socket = Socket(zmq.PULL, endpoint, bind=True, hwm=hwm or default_hwm(endpoint), public=public)
        super().__init__(socket, latest_only=False, resolve=resolve)


class _Encoder:
    """Numbers its instance and decides, event by event, whether pixels go along."""

    def __init__(self, endpoint: str, pixels: bool | None, compressed: bool) -> None:
        self._instance = secrets.randbits(63)
        self._local = endpoint.startswith("ipc:")
        self._pixels = pixels
        self._compressed = compressed

    def __call__(self, event: Event, sequence: int) -> list[Part]:
        pixels = self._pixels
        if pixels is None:
            pixels = not self._local or event.reference is None
        return encode(
            event, sequence=sequence, instance=self._instance, pixels=pixels, compressed=self._compressed
        )
