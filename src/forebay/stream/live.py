"""The live view: the newest image a few times a second, in the format that existing viewers read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from forebay.config import LiveConfig
from forebay.errors import WireError
from forebay.event import Event
from forebay.stream.broadcast import Broadcast
from forebay.wire.array10 import encode


class LivePublisher:
    """A sink that shows the newest image, (row, column) ``data``, to array-1.0 viewers; never waits.

    A viewer that falls more than two images behind misses the next ones.

    Parameters
    ----------
    config:
        Where it binds and how often it sends at most.
    public:
        Allow other hosts to connect.

    Attributes
    ----------
    counters:
        See `forebay.stream.broadcast.Broadcast`; images skipped for the rate are ``rate_limited``.
    """

    def __init__(
        self, config: LiveConfig, *, public: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._broadcast = Broadcast(
            config.endpoint, rate_hz=config.rate_hz, hwm=2, public=public, clock=clock
        )
        self.endpoint = self._broadcast.endpoint
        self.counters = self._broadcast.counters

    def write(self, events: Sequence[Event]) -> None:
        """Show the newest of these events if it is time; `StreamError` after `close`."""
        self._broadcast.write(events, _encode)

    def close(self) -> None:
        """Let go of the endpoint; may be called twice."""
        self._broadcast.close(0.0)


def _encode(event: Event, _sequence: int) -> list[bytes | memoryview]:
    if "data" not in event.arrays:
        raise WireError(f"Event {event.pulse_id} of {event.source!r} has no image 'data'.")
    return encode(event.arrays["data"], event.pulse_id)
