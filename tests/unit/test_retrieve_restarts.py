"""A pulse counter that restarts just where a retrieval passes from the rings to the live stream, or ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest

from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.retrieve import Retrieval, Stream
from forebay.ring.memory import MemoryRing

pytestmark = pytest.mark.unit


def events(pulses: Iterable[int], later_ns: int = 0) -> list[Event]:
    return [Event("s", p, 10**9 * (p + 1) + later_ns, {}, np.zeros(0, np.uint32)) for p in pulses]


class Script:
    """A live source that gives one batch at a read; a function is called first, and gives the batch."""

    def __init__(self, *batches: Sequence[Event] | Callable[[], Sequence[Event]]) -> None:
        self._batches = list(batches)

    def read(self, timeout: float) -> Sequence[Event] | None:
        if not self._batches:
            return None
        batch = self._batches.pop(0)
        return batch() if callable(batch) else batch

    def close(self) -> None:
        pass


def drained(source: Retrieval) -> list[int]:
    found: list[int] = []
    while (batch := source.read(0)) is not None:
        found += [event.pulse_id for event in batch]
    return found


def test_the_very_first_live_event_may_be_of_a_restarted_counter() -> None:
    memory = MemoryRing(1000, 10**9)
    memory.write(events(range(100)))
    live = Script(events([97, 98, 103, 110], later_ns=10**15))
    source = Retrieval(Stream("s", (memory,), lambda: live), PulseRange(90, 110))
    assert drained(source) == list(range(90, 100))
    assert source.reason == "the pulse counter restarted"


def test_a_restart_during_the_last_look_is_told() -> None:
    """What is missing then may have been there: only the restart says why it was not found."""
    memory = MemoryRing(1000, 10**9)
    memory.write(events(range(100)))

    def to_the_last_and_then_a_restart() -> list[Event]:
        came = events([100, 101, 103, 104])
        memory.write(came)
        memory.write(events(range(50), later_ns=10**15))
        return came

    stream = Stream("s", (memory,), lambda: Script(to_the_last_and_then_a_restart))
    source = Retrieval(stream, PulseRange(95, 104))
    assert drained(source) == [*range(95, 102), 103, 104]
    assert source.report.missing_pulses == (PulseRange(102, 102),)
    assert source.reason == "the pulse counter restarted"
