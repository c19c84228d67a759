"""Time stamps of triggers, which a camera's timing board publishes in bunches (SSDAQ 0.9)."""

from __future__ import annotations

from forebay.errors import WireError
from forebay.stream.messages import MessageListener
from forebay.wire import cdts

_TRIGGERS = 3
"""Number of the field of a bunch that holds its triggers."""


class BunchInlet:
    """Takes bunches apart; one thread at a time.

    Parameters
    ----------
    ip, port:
        Of the timing board; ``0.0.0.0`` binds instead.

    Raises
    ------
    ConfigError
        If the address is none.
    StreamError
        If it cannot be bound.

    Attributes
    ----------
    counters:
        Bunches ``received``, those of them that are ``malformed``; ``messages``: triggers in the others;
        ``lost``: bunches that their counter says are missing between two that came.
    """

    def __init__(self, ip: str, port: int | str) -> None:
        self._listener = MessageListener(ip, port)
        self.endpoint = self._listener.endpoint
        self.counters = dict.fromkeys(("received", "messages", "malformed", "lost"), 0)
        self._last: int | None = None

    def read(self, timeout: float) -> list[bytes]:
        """Return the triggers that came, as they lie in their bunches; wait at most `timeout` seconds."""
        found = []
        for bunch in self._listener.read(timeout):
            self.counters["received"] += 1
            try:
                head = cdts.decode(cdts.TRIGGER_BUNCH, bunch)
                triggers = cdts.parts(bunch, _TRIGGERS)
            except WireError:
                self.counters["malformed"] += 1
                continue
            self._count(head.get("bunch_counter"))
            self.counters["messages"] += len(triggers)
            found += triggers
        return found

    def _count(self, number: int | None) -> None:
        if number is not None and self._last is not None and number > self._last + 1:
            self.counters["lost"] += number - self._last - 1
        self._last = number

    def finish(self) -> list[bytes]:
        """Return what is only known to be whole at the end: nothing."""
        return []

    def close(self) -> None:
        """Let go of the socket; may be called twice."""
        self._listener.close()
