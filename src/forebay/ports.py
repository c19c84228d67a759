"""The few shapes that everything plugs into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from forebay.event import Event
from forebay.pulse import PulseRange


class Source(Protocol):
    """Where events come from."""

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return the next events, oldest first; wait at most `timeout` seconds.

        ``()`` means nothing yet, None means never again.
        """
        ...

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        ...


class Sink(Protocol):
    """Where events go to."""

    def write(self, events: Sequence[Event]) -> None:
        """Take these events, oldest first; every event not taken is counted or raised."""
        ...

    def close(self) -> None:
        """Finish what was taken and let go of everything; may be called twice."""
        ...


class Ring(Sink, Protocol):
    """A sink that remembers the recent past."""

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id that the ring holds; None while it is empty."""
        ...

    def get(self, pulse_id: int) -> Event:
        """Return the event of `pulse_id`.

        Raises
        ------
        NotYetError
            If it is newer than the span.
        OverwrittenError
            If it is older than the span.
        AbsentError
            If it lies inside the span but nothing came for it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """What travels on the bus.

    Attributes
    ----------
    key:
        Routing key: words separated by dots, e.g. ``record.camera``.
    id:
        Names the request that this is, or is about; the same in a request and all its statuses.
    body:
        What is asked or said; anything that JSON can say.
    headers:
        Short texts beside the body, e.g. ``action`` and ``source``.
    time_ns:
        When it was made: ns since 1970, UTC.
    """

    key: str
    id: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    time_ns: int = 0


class Delivery(Protocol):
    """A request in the hands of one worker."""

    @property
    def message(self) -> Message:
        """The request."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether a worker may have had it before."""
        ...

    def ack(self) -> None:
        """Say that it is done; it will not come again."""
        ...

    def reject(self, *, requeue: bool) -> None:
        """Give it back: for another worker, or for nobody."""
        ...


class WorkQueue(Protocol):
    """One worker's end of a queue: at most one request at a time is in its hands."""

    def take(self, timeout: float) -> Delivery | None:
        """Return the next request, oldest first; None if none came within `timeout` seconds."""
        ...

    def close(self) -> None:
        """Leave; a request in hand goes back to the queue. May be called twice."""
        ...


class Subscription(Protocol):
    """One listener's end of a fan-out."""

    @property
    def n_gaps(self) -> int:
        """A number that grows when something may have been missed: the bus was away, or reading slow."""
        ...

    def read(self, timeout: float) -> Message | None:
        """Return the next message, oldest first; None if none came within `timeout` seconds."""
        ...

    def close(self) -> None:
        """Leave. May be called twice."""
        ...


class Bus(Protocol):
    """Requests (work queues), statuses (fan-out) and kills, for many processes.

    Keys are words separated by dots; a pattern may have ``*`` for one word and ``#`` for any number.
    All methods may be called from several threads. Every method raises `forebay.errors.BusError` if the
    bus cannot be reached within its time.
    """

    def reach(self, timeout: float) -> None:
        """Wait until the bus answers, for at most `timeout` seconds."""
        ...

    def request(self, message: Message) -> None:
        """Hand a request to the queues whose patterns match its key; durable when this returns.

        A second request with an id that the bus still has is not queued again.

        Raises
        ------
        NoWorkerError
            If no queue takes that key.
        """
        ...

    def declare(self, queue: str, patterns: Sequence[str]) -> None:
        """Make a durable queue that takes requests of these patterns, also while no worker is there."""
        ...

    def work(self, queue: str) -> WorkQueue:
        """Take part in working off a declared queue."""
        ...

    def withdraw(self, queue: str, id: str) -> bool:  # noqa: A002 - the field of `Message`
        """Take a request that no worker has in hand out of its queue; whether it was there."""
        ...

    def publish(self, message: Message) -> None:
        """Tell all who listen for statuses."""
        ...

    def statuses(self, pattern: str = "#") -> Subscription:
        """Listen for statuses from now on."""
        ...

    def kill(self, message: Message) -> None:
        """Ask whoever carries out the request of that id to end it."""
        ...

    def kills(self, pattern: str = "#") -> Subscription:
        """Listen for kills from now on."""
        ...

    def call(self, message: Message, timeout: float) -> Message:
        """Ask the one who answers for that key, and return the answer.

        Raises
        ------
        NoWorkerError
            If nobody answers for that key.
        NoAnswerError
            If no answer came within `timeout` seconds.
        """
        ...

    def answer(self, key: str) -> Answers:
        """Answer calls for `key`; the key is this one's alone."""
        ...

    def close(self) -> None:
        """Leave the bus. May be called twice."""
        ...


class Answers(Protocol):
    """The end of one who answers calls."""

    def read(self, timeout: float) -> tuple[Message, Reply] | None:
        """Return the next call and how to answer it; None if none came within `timeout` seconds."""
        ...

    def close(self) -> None:
        """Stop answering. May be called twice."""
        ...


class Reply(Protocol):
    """Sends the answer of one call."""

    def __call__(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """Answer; a caller that has gone misses it."""
        ...
