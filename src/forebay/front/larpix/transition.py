"""One change of state: who is told when, who has confirmed, and who is still awaited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from forebay.front.larpix.clients import Client

NEXT: Final[dict[str, tuple[str, ...]]] = {
    "STOP": ("READY",),
    "READY": ("RUN", "STOP"),
    "RUN": ("STOP",),
}
"""State -> states that an operator may ask for. To ask for the present state does nothing and succeeds."""


@dataclass
class Asker:
    """An operator who waits for an answer."""

    identity: bytes
    who: str
    more: dict[str, Any]


@dataclass
class Transition:
    """A change of state under way.

    Components that make data begin last and end first, so that all others see every message of a run.

    Attributes
    ----------
    stages:
        Connections to be told, group after group; the first group is `waiting`.
    accounts:
        Name of a component -> what it says that it did.
    """

    id: int
    target: str
    deadline: float
    reason: str
    asker: Asker | None = None
    stages: list[set[bytes]] = field(default_factory=list)
    waiting: set[bytes] = field(default_factory=set)
    probes: dict[int, bytes] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def plan(self, clients: Iterable[Client]) -> None:
        """Put components in their order."""
        boards, others = set[bytes](), set[bytes]()
        for client in clients:
            (boards if client.is_board else others).add(client.identity)
        self.stages = [boards, others] if self.target == "STOP" else [others, boards]

    def next_stage(self) -> set[bytes] | None:
        """Return those to be told now, or None when all have confirmed."""
        while self.stages:
            self.waiting = self.stages.pop(0)
            if self.waiting:
                return set(self.waiting)
        return None

    def leave(self, identity: bytes) -> bool:
        """Await a component no more; whether it was awaited, now or later."""
        found = identity in self.waiting or any(identity in stage for stage in self.stages)
        for stage in (self.waiting, *self.stages):
            stage.discard(identity)
        return found
