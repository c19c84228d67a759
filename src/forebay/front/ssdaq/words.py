"""The words of the assembler's control channel: ASCII in, ASCII out, and no word that breaks it."""

from __future__ import annotations

import json
from typing import Any, Protocol

RESET, PUBLISH, STATUS = "reset_ro_count", "set_publish_readouts", "status"


class Commanded(Protocol):
    """What is commanded; from any thread."""

    def publish(self, on: bool) -> None:
        """Hand readouts on, or only count them."""
        ...

    def reset_count(self) -> None:
        """Let the next readout be number 1."""
        ...

    def status(self) -> dict[str, Any]:
        """Return what is going on, ready for JSON."""
        ...


def answer(assembler: Commanded, message: bytes) -> bytes:
    """Carry out one command and return the reply; whatever comes is answered."""
    command, *arguments = message.decode("ascii", "replace").split() or [""]
    match command:
        case "reset_ro_count":
            assembler.reset_count()
            return b"Readout count reset"
        case "set_publish_readouts":
            return _publish(assembler, arguments)
        case "status":
            return json.dumps(assembler.status()).encode()
    return f"Unknown command '{command[:40]}'; known are {RESET}, {PUBLISH} and {STATUS}".encode()


def _publish(assembler: Commanded, arguments: list[str]) -> bytes:
    match arguments:
        case ["true" | "True", *_]:
            assembler.publish(True)
            return b"Unpaused readout publishing"
        case ["false" | "False", *_]:
            assembler.publish(False)
            return b"Paused readout publishing"
    return f"Unrecognized arg '{' '.join(arguments)[:40]}' for {PUBLISH}: give true or false".encode()
