"""What is odd in a stream: missing values, gaps, duplicates, reversed pulse ids, jumps of the clock."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from forebay.event import Event
from forebay.wire.bsread import BsreadArrays

KINDS: Final = ("missing_values", "gaps", "duplicates", "reversed", "clock_jumps")

JUMP_NS: Final = 500_000_000
"""The clock jumped if it is so far from where the pulses before led it."""

_MEMORY = 50  # messages from which distance and period of the pulses are learnt
_ENOUGH = 5
_RECENT = 1000  # pulse ids among which a repeated one is recognized
_TELL_S = 1.0
_MOST_NAMES = 5

Tell = Callable[[str, dict[str, object]], None]


class Analyzer:
    """A sink that counts anomalies and tells of each kind at most once a second.

    The distance of pulse ids and the time between them are learnt from the stream itself, so that it may
    run at any rate. A channel with ``modulo`` is missing only where it should have a value.

    Parameters
    ----------
    tell:
        Called with a kind, one of `KINDS`, and fields: how many since the last time, and the last one.
    clock:
        Seconds; for the rate of telling only.

    Attributes
    ----------
    counters:
        ``messages``; by kind, how many; ``missed_pulses`` within the gaps.
    missing:
        By channel, how many values were missing.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = dict.fromkeys(("messages", *KINDS, "missed_pulses"), 0)
        self.missing: Counter[str] = Counter()
        self._tell = tell
        self._clock = clock
        self._last: Event | None = None
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._known: set[int] = set()
        self._steps: deque[int] = deque(maxlen=_MEMORY)
        self._periods: deque[float] = deque(maxlen=_MEMORY)
        self._told: dict[str, float] = {}
        self._untold: Counter[str] = Counter()
        self._details: dict[str, dict[str, object]] = {}

    def write(self, events: Sequence[Event]) -> None:
        """Look at these messages."""
        for event in events:
            self.counters["messages"] += 1
            self._look_at_values(event)
            self._look_at_order(event)
        self._speak(self._clock())

    def close(self) -> None:
        """Tell what was not told yet."""
        self._speak(float("inf"))

    def _look_at_values(self, event: Event) -> None:
        arrays = event.arrays
        if not isinstance(arrays, BsreadArrays):
            return
        channels = arrays.header.channels
        values = arrays.parts[2 : 2 + 2 * len(channels) : 2]
        is_whole = len(values) == len(channels) and all(values)
        if is_whole and not any(channel.is_compressed for channel in channels):
            return  # the usual case, decided without looking at each channel by name
        gone = [
            channel.name
            for channel in channels
            if not arrays.is_present(channel.name)
            and (event.pulse_id - channel.offset) % max(channel.modulo, 1) == 0
        ]
        if gone:
            self.missing.update(gone)
            names = ", ".join(gone[:_MOST_NAMES]) + (" ..." if len(gone) > _MOST_NAMES else "")
            self._count("missing_values", len(gone), pulse_id=event.pulse_id, channels=names)

    def _look_at_order(self, event: Event) -> None:
        last = self._last
        is_known = event.pulse_id in self._known
        self._remember(event.pulse_id)
        if last is None:
            self._last = event
        elif is_known:
            self._count("duplicates", pulse_id=event.pulse_id)
        elif event.pulse_id < last.pulse_id:
            self._count("reversed", pulse_id=event.pulse_id, after=last.pulse_id)
            if last.pulse_id - event.pulse_id > _RECENT:  # the counter started again
                self._last = event
                self._steps.clear()
                self._periods.clear()
        else:
            self._look_at_distance(last, event)
            self._last = event

    def _look_at_distance(self, last: Event, event: Event) -> None:
        pulses = event.pulse_id - last.pulse_id
        time_ns = event.time_ns - last.time_ns
        self._steps.append(pulses)
        missed = pulses // min(self._steps) - 1
        if missed and len(self._steps) > 1:
            self.counters["missed_pulses"] += missed
            self._count("gaps", last=last.pulse_id, next=event.pulse_id, missed=missed)
        expected = 0.0
        if len(self._periods) >= _ENOUGH:
            expected = pulses * statistics.median(self._periods)
        if time_ns < 0 or (expected and abs(time_ns - expected) > JUMP_NS):
            self._count("clock_jumps", pulse_id=event.pulse_id, seconds=round((time_ns - expected) / 1e9, 3))
        else:
            self._periods.append(time_ns / pulses)

    def _remember(self, pulse_id: int) -> None:
        if pulse_id in self._known:
            return
        if len(self._recent) == _RECENT:
            self._known.discard(self._recent[0])
        self._recent.append(pulse_id)
        self._known.add(pulse_id)

    def _count(self, kind: str, n: int = 1, **details: object) -> None:
        self.counters[kind] += n
        self._untold[kind] += n
        self._details[kind] = details

    def _speak(self, now: float) -> None:
        for kind, n in list(self._untold.items()):
            if now - self._told.get(kind, float("-inf")) >= _TELL_S:
                self._tell(kind, {"n": n, **self._details[kind]})
                self._told[kind] = now
                del self._untold[kind]
