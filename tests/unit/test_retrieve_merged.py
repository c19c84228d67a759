"""Streams that are merged: what is due goes out at once, and who speaks again is waited for again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from forebay.event import Event
from forebay.retrieve import Merged

pytestmark = pytest.mark.unit

PATIENCE_S = 2.0


class Clock:
    """A clock that moves when it is told to, or when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Fed:
    """A source of what the test puts into it; reading in vain takes the time that it may."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name, self._clock = name, clock
        self._waiting: list[Event] = []

    def feed(self, *pulses: int) -> None:
        self._waiting += [Event(self._name, p, p, {}, np.zeros(0, np.uint32)) for p in pulses]

    def read(self, timeout: float) -> Sequence[Event]:
        came, self._waiting = self._waiting, []
        if not came:
            self._clock.now += timeout
        return came

    def close(self) -> None:
        pass


@pytest.fixture
def bench() -> tuple[Merged, Fed, Fed, Clock]:
    clock = Clock()
    a, b = Fed("a", clock), Fed("b", clock)
    return Merged([a, b], patience_s=PATIENCE_S, clock=clock), a, b, clock


def said(merged: Merged, timeout: float) -> list[tuple[str, int]]:
    return [(event.source, event.pulse_id) for event in merged.read(timeout) or ()]


def test_a_pulse_that_all_have_is_not_held_back(bench: tuple[Merged, Fed, Fed, Clock]) -> None:
    merged, a, b, clock = bench
    a.feed(5)
    b.feed(5)
    assert said(merged, 60.0) == [("a", 5), ("b", 5)]
    assert clock.now == 100.0, "nobody was waited for"


def test_a_stream_that_speaks_again_is_waited_for_again(bench: tuple[Merged, Fed, Fed, Clock]) -> None:
    merged, a, b, clock = bench
    a.feed(1)
    assert said(merged, 60.0) == [("a", 1)]
    assert clock.now >= 100.0 + PATIENCE_S, "b was waited for, as long as patience goes"
    b.feed(2)
    a.feed(2)
    assert said(merged, 0.0) == [("a", 2), ("b", 2)]
    a.feed(3, 4)
    assert said(merged, 0.0) == [], "b may have a 3 or a 4, too"
    b.feed(3, 4)
    assert said(merged, 0.0) == [("a", 3), ("b", 3), ("a", 4), ("b", 4)]
