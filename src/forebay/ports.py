"""The few shapes that everything plugs into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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
