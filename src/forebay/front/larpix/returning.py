"""Components of the original that a core before this one knew: they never register again, so they are asked.

A component of xylem-daq 0.3.2 registers once, in its constructor, and ends by itself 5 heartbeats after the
last PONG (`BaseComponent.run_backend`: "FATAL: Lost connection to Core"). Whoever sends a PING without having
registered here has therefore lived on since it registered at the core before. A PING has no name: which
component it is shows by an action that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from forebay.front.larpix.clients import BOARD_GROUP
from forebay.wire import xylem as x

RETURN_S: Final = 60.0
"""For so long after its start a core takes components over; a busy one answers late."""

_MONITORS: Final = ("Online monitor", "Run data")
_ASKED: Final = ("get_boards", "retrieve_pixel_layout")
"""Actions of producers, and of monitors, that change nothing."""

_UNKNOWN_ACTION: Final = "ERROR: Could not execute action"


@dataclass
class _Stranger:
    """A connection of which it is not known yet which component is behind it."""

    questions: dict[int, str]
    has: set[str] = field(default_factory=set)


class Returning:
    """Components that were known, and strangers that may be them.

    Parameters
    ----------
    known:
        How they registered at the core before.
    ask:
        Sends an action to a connection and returns its number.
    until:
        Seconds of the core's clock at which nobody is awaited any more.
    """

    def __init__(self, known: Iterable[x.Register], ask: Callable[[bytes, str], int], until: float) -> None:
        self._all = {one.name: one for one in known}
        self._known = dict(self._all)
        self._strangers: dict[bytes, _Stranger] = {}
        self._ask = ask
        self._until = until

    @property
    def awaited(self) -> list[x.Register]:
        """Those that have not come back."""
        return list(self._known.values())

    def alive(self, identity: bytes, now: float) -> bool:
        """Take a sign of life of a connection that did not register; False if nobody is awaited."""
        if now > self._until or not self._known:
            self._known.clear()
            self._strangers.clear()
            return False
        if identity not in self._strangers and len(self._strangers) < len(self._known):
            self._strangers[identity] = _Stranger({self._ask(identity, name): name for name in _ASKED})
        return identity in self._strangers

    def answered(self, identity: bytes, done: x.ActionResult) -> tuple[x.Register, list[str]] | None:
        """Take an answer; return who the stranger is as soon as that is known, and who else it may be.

        Aggregator and storage of the original have the same actions; either may be taken for the other.
        """
        stranger = self._strangers.get(identity)
        if stranger is None or done.id not in stranger.questions:
            return None
        name = stranger.questions.pop(done.id)
        if not str(done.result).startswith(_UNKNOWN_ACTION):
            stranger.has.add(name)
        if stranger.questions:
            return None
        del self._strangers[identity]
        alike = [one for one in self._known.values() if _actions(one) == stranger.has]
        if not alike:
            return None
        found = self._known.pop(alike[0].name)
        others = [one.name for one in self._all.values() if _actions(one) == stranger.has]
        return found, [name for name in others if name != found.name]

    def forget(self, name: str) -> None:
        """Await a component no more: another process of that name registered."""
        self._known.pop(name, None)
        self._all.pop(name, None)


def _actions(register: x.Register) -> set[str]:
    if register.short_name == BOARD_GROUP:
        return {"get_boards"}
    return {"retrieve_pixel_layout"} if register.name in _MONITORS else set()
