"""What the processes of larpix-daq's components have in common: the line to the core, the log, the loop."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

from forebay.errors import StreamError
from forebay.front.larpix.component import Component, DieError
from forebay.front.larpix.conductor import UNKNOWN
from forebay.service.process import notify, say
from forebay.stream.xylem import ComponentLink, DataIn, LogOut
from forebay.wire.xylem import Message, Register

HEARTBEAT_MS: Final = 300
TURN_S: Final = 0.05
"""How long a component waits for data before it looks for news of the core."""

MOST_MESSAGES: Final = 200
"""Messages that a component takes before it looks for news of the core, and for the end."""

_CONNECT_S = 5.0


class Part(ABC):
    """One component of the system; `turn` is its work, `enter` what a state means to it."""

    def __init__(
        self,
        name: str,
        group: str,
        home: str,
        log_address: str,
        *,
        connections: tuple[str, ...] = (),
        addresses: Mapping[str, str] | None = None,
        actions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        docs = {action: (function.__doc__ or "").strip() for action, function in (actions or {}).items()}
        register = Register(
            name,
            group,
            HEARTBEAT_MS,
            list(connections),
            dict(addresses or {}),
            docs,
            confirms=True,
            instance=uuid.uuid4().hex,
        )
        self.name = name
        self._connections = connections
        self.line = ComponentLink(home, register)
        self.component = Component(self.line, self.enter, actions)
        self._log = LogOut(log_address, name)
        self.input: DataIn | None = None

    def say(self, what: str, level: int = logging.INFO, **fields: object) -> None:
        """Tell whoever reads our log, and the log of the system."""
        say(what, level, **fields)
        text = " ".join([what, *(f"{name}={value}" for name, value in fields.items())])
        self._log.say(logging.getLevelName(level), text)

    @abstractmethod
    def enter(self, state: str, run: int | None) -> dict[str, Any] | None:
        """Do what a state asks for; see `Component`."""

    @abstractmethod
    def turn(self) -> None:
        """Work for about `TURN_S`."""

    def listen(self) -> DataIn | None:
        """Return the input, connected to where the core says that it is; None while that is not known."""
        if not self._connections:
            return None
        addresses = self.component.addresses.get(self._connections[0], ())
        if addresses and self.input is None:
            self.input = DataIn(*addresses)
            self.say("listening", addresses=", ".join(addresses))
        elif self.input is not None and addresses != self.input.addresses:
            self.input.listen_to(addresses)
            self.say("listening", addresses=", ".join(addresses))
        return self.input

    def wait_for_input(self, take: Callable[[Message], None]) -> None:
        """Return when data can come, which are given to `take` meanwhile.

        Raises
        ------
        StreamError
            If none can: a run would be empty.
        """
        source = self.listen()
        if source is None:
            wanted = self._connections[0]
            raise StreamError(f"No data can come: no component of {wanted} has registered.", "Start it.")
        end = time.monotonic() + _CONNECT_S
        while True:
            message = source.read(TURN_S)
            if message is not None:
                take(message)
            if source.is_connected:
                return
            if time.monotonic() > end:
                silent = ", ".join(source.silent)
                raise StreamError(f"No data can come: {silent} does not answer.", "Start it again.")

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`, or until the core says so."""
        self.line.start()
        notify("READY=1")
        refusal, registration = "", 0
        say("registering", core=self.line.address)
        try:
            while not stop.is_set():
                if self.line.refusal != refusal:
                    refusal = self.line.refusal
                    if refusal == UNKNOWN:
                        say("registering again: the core is another one, or had given us up")
                    elif refusal:
                        say("the core refuses us", logging.WARNING, reason=refusal)
                self.component.poll()
                if self.component.registration != registration:
                    registration = self.component.registration
                    say("registered", core=self.line.address)
                self.turn()
        except DieError as error:
            say("ending", reason=error)
        finally:
            self.close()

    def close(self) -> None:
        """Leave; what waits to be sent is sent."""
        if self.input is not None:
            self.input.close()
        self.line.close()
        self._log.close()
