"""The aggregator of larpix-daq: what boards publish goes on, bytes unchanged, in every state."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

from forebay.front.larpix.arguments import home_address
from forebay.service.larpix_part import MOST_MESSAGES, TURN_S, Part
from forebay.stream.xylem import DataIn, DataOut
from forebay.wire.xylem import Data, Info, Message

_QUIET_S = 0.3
"""When nothing has come for so long after boards have ended, nothing is in flight."""


class Aggregator(Part):
    """Relays; confirms STOP when what was in flight has passed."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._out = DataOut(arguments.address, public=arguments.public)
        super().__init__(
            "LArPix aggregator",
            "AGGREGATOR",
            home_address(arguments),
            arguments.log_address,
            connections=("BOARD",),
            addresses={"AGGREGATOR": self._out.address},
        )
        self._n = 0
        self._last = time.monotonic()
        self._is_ending = False

    def enter(self, state: str, run: int | None) -> dict[str, Any] | None:  # noqa: ARG002
        """Begin to count, or to drain."""
        if state != "STOP":
            self._is_ending = False
            if state == "READY":
                self.wait_for_input(self._relay)
                self._n = 0
            return {}
        self._is_ending = True
        self._last = time.monotonic()
        return None

    def _relay(self, message: Message) -> None:
        if isinstance(message, Data | Info):
            self._out.send(message)
            self._n += 1

    def _relay_all(self, source: DataIn) -> None:
        timeout = TURN_S
        for _ in range(MOST_MESSAGES):
            message = source.read(timeout)
            if message is None:
                return
            timeout = 0.0
            self._relay(message)
            self._last = time.monotonic()

    def turn(self) -> None:
        """Relay what has come."""
        source = self.listen()
        if source is None:
            time.sleep(TURN_S)
        else:
            self._relay_all(source)
        if self._is_ending and time.monotonic() - self._last > _QUIET_S:
            self._is_ending = False
            self.component.confirm({"messages": self._n, "messages_perhaps_lost": self._out.n_lossy})

    def close(self) -> None:
        """See `Part`."""
        super().close()
        self._out.close()


def run_aggregator(arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Be the aggregator until `stop`."""
    Aggregator(arguments).run(stop)
