"""Tells when a board goes away, falls silent or loses its clock, and when it sends again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SILENT_S: Final = 5.0
"""A board that sends nothing for so long has gone: it sends a sync every second, whatever its chips do."""

_HERE, _SILENT, _AWAY = (
    "sends again",
    f"has sent nothing for {SILENT_S:g} s",
    "is away: its connection is lost",
)

_FAULTS: Final = {
    "clock_resets": "its clock was reset",
    "clock_switches": "the source of its clock changed",
    "full_queues": "its queue here was full, perhaps",
    "malformed": "messages came that cannot be read",
}


class BoardWatch:
    """Follows the counters of boards; one that never sent anything is of no interest yet.

    Faults are told when their number has doubled, so that a board with many fills no log.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], int] = {}
        self._heard: dict[str, tuple[int, float]] = {}
        self._states: dict[str, str] = {}

    def look(self, counters: Mapping[str, Mapping[str, int]], now: float) -> list[tuple[str, bool]]:
        """Return what has changed since the last look: a text, and whether it is bad news.

        Parameters
        ----------
        counters:
            Board -> its counters so far: `messages`, `connections`, `disconnections`, and faults.
        now:
            Seconds of any clock that does not jump.
        """
        news = []
        for name, own in counters.items():
            n = own.get("messages", 0)
            is_heard = n != self._heard.get(name, (0, 0.0))[0]
            if is_heard:
                self._heard[name] = n, now
            if name not in self._heard:
                continue
            before = self._states.get(name, _HERE)
            state = _state(own, now - self._heard[name][1])
            if before == _AWAY and not is_heard:  # a connection alone is no data
                state = before
            if state != before:
                news.append((f"{name} {state}", state != _HERE))
            self._states[name] = state
            news += [(text, True) for text in self._faults(name, own)]
        return news

    def _faults(self, name: str, own: Mapping[str, int]) -> list[str]:
        grown = []
        for fault, text in _FAULTS.items():
            n = own.get(fault, 0)
            if n.bit_length() > self._told.get((name, fault), 0):
                self._told[name, fault] = n.bit_length()
                grown.append(f"{name}: {text}, {n} times so far" if n > 1 else f"{name}: {text}")
        return grown


def _state(own: Mapping[str, int], quiet_s: float) -> str:
    if own.get("connections", 1) <= own.get("disconnections", 0):
        return _AWAY
    return _SILENT if quiet_s >= SILENT_S else _HERE
