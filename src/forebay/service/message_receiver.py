"""A receiver of SSDAQ 0.9: what comes in is handed to publishers, message by message, and counted."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from forebay.errors import ForebayError
from forebay.service.process import say

_POLL_S = 0.05
_MOST_DRAIN_S = 2.0
_LOOK_EVERY_S = 0.2


class Inlet(Protocol):
    """Where messages come from.

    Attributes
    ----------
    counters:
        ``received``, units that came; ``messages``, those handed on; others as each has them.
    """

    counters: dict[str, int]

    def read(self, timeout: float) -> list[bytes]:
        """Return what came, oldest first; wait at most `timeout` seconds for the first."""
        ...

    def finish(self) -> list[bytes]:
        """Return what is only known to be whole at the end."""
        ...

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        ...


class Outlet(Protocol):
    """Where messages go to."""

    name: str
    endpoint: str
    counters: dict[str, int]

    def send(self, messages: Sequence[bytes]) -> None:
        """Take messages, oldest first; `ForebayError` if it cannot."""
        ...

    def close(self) -> None:
        """Finish what was taken; may be called twice."""
        ...


class MessageReceiver:
    """Receives and hands on until it is stopped; then what is in flight is drained.

    `run` belongs to one thread; everything else may be called from any.

    Parameters
    ----------
    outlets:
        Get every message, in order; closed at the end of `run`. One that fails is closed and left out, and
        the others go on.

    Attributes
    ----------
    failed:
        Why outlets were left out.
    """

    def __init__(self, inlet: Inlet, outlets: Sequence[Outlet]) -> None:
        self.failed: list[ForebayError] = []
        self._inlet = inlet
        self._outlets = list(outlets)
        self._all = list(outlets)
        self._looked_s = time.monotonic()

    @property
    def n_received(self) -> int:
        """How many units came."""
        return self._inlet.counters["received"]

    def run(self, is_over: Callable[[], bool]) -> None:
        """Work until `is_over`, then take what still waits."""
        try:
            while not is_over():
                self._hand_on(self._inlet.read(_POLL_S))
                self._look()
            end = time.monotonic() + _MOST_DRAIN_S
            timeout, n = _POLL_S, -1
            while n != self.n_received and time.monotonic() < end:
                n = self.n_received
                self._hand_on(self._inlet.read(timeout))
                timeout = 0.0
            self._hand_on(self._inlet.finish())
        finally:
            self._inlet.close()
            for outlet in self._outlets:
                outlet.close()

    def _look(self) -> None:
        """Now and then, let publishers find out who listens, also while nothing comes."""
        if time.monotonic() - self._looked_s > _LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            self._hand_on([], always=True)

    def _hand_on(self, messages: list[bytes], always: bool = False) -> None:
        if not messages and not always:
            return
        for outlet in list(self._outlets):
            try:
                outlet.send(messages)
            except ForebayError as error:
                self.failed.append(error)
                say("messages are not taken any more", logging.ERROR, by=outlet.name, reason=str(error))
                self._outlets.remove(outlet)
                outlet.close()

    def status(self) -> dict[str, Any]:
        """Return counters and what is going on, ready for JSON."""
        return {
            "receiver": dict(self._inlet.counters),
            "publishers": [
                {
                    "name": one.name,
                    "endpoint": one.endpoint,
                    "subscribers": getattr(one, "subscribers", None),
                    **one.counters,
                }
                for one in self._all
            ],
            "failed": [str(error) for error in self.failed],
        }


def answer(receiver: MessageReceiver, message: bytes) -> bytes:
    """Answer one command of the control channel; there is no other than ``status``."""
    command = message.decode("ascii", "replace").strip()
    if command == "status":
        return json.dumps(receiver.status()).encode()
    return f"Unknown command '{command[:40]}'; known is status".encode()
