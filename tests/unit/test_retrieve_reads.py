"""How much one read of a retrieval gives, and what its last look finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.retrieve import Retrieval, Stream, source
from forebay.ring.memory import MemoryRing

pytestmark = pytest.mark.unit


class Sized(dict):
    """Arrays that say what they occupy, as those of rings do."""

    nbytes = 40


def ring(pulses: Iterable[int]) -> MemoryRing:
    made = MemoryRing(1000, 10**9)
    made.write([event(p) for p in pulses])
    return made


def event(pulse_id: int) -> Event:
    return Event("s", pulse_id, 10**9 * (pulse_id + 1), Sized(), np.zeros(0, np.uint32))


def reads(retrieval: Retrieval) -> list[list[int]]:
    found = []
    while (batch := retrieval.read(0)) is not None:
        found.append([one.pulse_id for one in batch])
    return found


def test_one_read_gives_no_more_bytes_than_memory_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "READ_BYTES", 100)
    found = reads(Retrieval(Stream("s", (ring(range(8)),)), PulseRange(0, 7)))
    assert found == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_what_the_disk_gets_late_is_found_by_the_last_look() -> None:
    """Pulse 150 never was in memory, and not yet on disk when the disk was read."""
    memory = ring(p for p in range(100, 201) if p != 150)
    disk = ring(range(121))

    class Live:
        def __init__(self) -> None:
            self._batches: list[Sequence[Event]] = [[event(p) for p in range(201, 206)]]

        def read(self, timeout: float) -> Sequence[Event] | None:
            disk.write([event(p) for p in range(121, 201)])
            return self._batches.pop() if self._batches else None

        def close(self) -> None:
            pass

    retrieval = Retrieval(Stream("s", (memory, disk), Live), PulseRange(90, 205))
    assert sorted(p for batch in reads(retrieval) for p in batch) == list(range(90, 206))
    assert retrieval.reason == "last pulse"
