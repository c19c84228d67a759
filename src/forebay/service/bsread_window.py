"""The stretch of a stream that one acquisition wants; its end may become known while it runs."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from forebay.errors import RangeError
from forebay.event import Event
from forebay.ports import Source
from forebay.ring.memory import nbytes

HOLD_EVENTS: Final = 100
HOLD_BYTES: Final = 256 * 2**20
"""While the last pulse is not known, so many messages are held back: a stop may name one of them."""

SETTLE_S: Final = 0.2
"""How late a message may come: after those with larger pulse ids, and after the last one."""

DRAIN_S: Final = 0.5
"""How long after `Window.finish` messages are taken from a stream that goes on."""

LATE_S: Final = 2.0
"""How long messages of before a stop without pulse id may take to come."""


class _Held(NamedTuple):
    pulse_id: int
    arrived: float
    event: Event


class Window:
    """A source of the events between two pulse ids or two times, ends included, by rising pulse id.

    It ends `SETTLE_S` after the last pulse or one beyond it came; when nothing came for `idle_s` after the
    end became known; `LATE_S` after `stop_now`; and when its source ends. One thread reads, any may command.

    Parameters
    ----------
    first_pulse, first_ns:
        Where it begins; None, the default, is the first message that comes.
    clock:
        Seconds, monotonic.

    Attributes
    ----------
    reason:
        Why it ended; empty before.
    begun_ns:
        Time of the event within the window that came first; None before.
    last_pulse_id, last_time_ns:
        Of the newest event within the window; -1 and None before the first.
    counters:
        ``early`` and ``late`` events lie outside; ``trimmed`` of the late ones had come before the end
        was known. Those that were passed on before a stop named a pulse before them are not counted:
        whoever has them may ask for `last_pulse`.
    """

    def __init__(
        self,
        source: Source,
        *,
        idle_s: float,
        first_pulse: int | None = None,
        first_ns: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reason = ""
        self.first_pulse, self.first_ns = first_pulse, first_ns
        self.last_pulse: int | None = None
        self.last_ns: int | None = None
        self.begun_ns: int | None = None
        self.last_pulse_id = -1
        self.last_time_ns: int | None = None
        self.counters = dict.fromkeys(("early", "late", "trimmed"), 0)
        self._source = source
        self._idle_s = idle_s
        self._clock = clock
        self._lock = threading.Lock()
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._heard = clock()
        self._passed_on = -1  # largest pulse id that was
        self._past_since: float | None = None
        self._give_up: float | None = None
        self._finishing = False
        self._aborted = ""

    def set_last_pulse(self, last_pulse: int) -> None:
        """End with this pulse id; `RangeError` if the window begins after it."""
        with self._lock:
            if self.first_pulse is not None and last_pulse < self.first_pulse:
                raise RangeError(
                    f"Pulses {self.first_pulse}..{last_pulse} are reversed.",
                    "Stop at the first pulse or after it.",
                )
            self.last_pulse = last_pulse
            self._past_since = None
            self._heard = self._clock()
            self.last_pulse_id = min(self.last_pulse_id, last_pulse)

    def stop_now(self, now_ns: int) -> None:
        """End with messages of this time."""
        with self._lock:
            self.last_ns = now_ns
            self._give_up = self._clock() + LATE_S

    def finish(self) -> None:
        """End as soon as what is on its way has come: nothing for `SETTLE_S`, or after `DRAIN_S`."""
        with self._lock:
            if not self._finishing:
                self._finishing = True
                self._give_up = self._clock() + DRAIN_S

    def abort(self, reason: str) -> None:
        """End at once with what has come."""
        with self._lock:
            self._aborted = reason

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        if self.reason:
            return None
        events = self._source.read(timeout) if not self._aborted else ()
        with self._lock:
            now = self._clock()
            for event in events or ():
                self._take(event, now)
            self._trim(now)
            self.reason = "the source ended" if events is None else self._ending(now)
            return self._release(now)

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def _take(self, event: Event, now: float) -> None:
        self._heard = now
        if (self.first_pulse is not None and event.pulse_id < self.first_pulse) or (
            self.first_ns is not None and event.time_ns < self.first_ns
        ):
            self.counters["early"] += 1
        elif self._is_late(event):
            self.counters["late"] += 1
            self._past_since = self._past_since or now
        else:
            insort(self._held, _Held(event.pulse_id, now, event), key=lambda held: held.pulse_id)
            self._held_bytes += nbytes(event)
            self.begun_ns = event.time_ns if self.begun_ns is None else self.begun_ns
            self.last_pulse_id, self.last_time_ns = event.pulse_id, event.time_ns

    def _is_late(self, event: Event) -> bool:
        return (self.last_pulse is not None and event.pulse_id > self.last_pulse) or (
            self.last_ns is not None and event.time_ns > self.last_ns
        )

    def _trim(self, now: float) -> None:
        """Leave out what was held back and lies behind an end that has become known."""
        if self.last_pulse is None and self.last_ns is None:
            return
        late = [held for held in self._held if self._is_late(held.event)]
        if late:
            self.counters["late"] += len(late)
            self.counters["trimmed"] += len(late)
            self._held = [held for held in self._held if not self._is_late(held.event)]
            self._held_bytes = sum(nbytes(held.event) for held in self._held)
            if self._held:
                self.last_pulse_id, self.last_time_ns = self._held[-1].pulse_id, self._held[-1].event.time_ns
        newest = max(self._passed_on, self._held[-1].pulse_id if self._held else -1)
        if late or (self.last_pulse is not None and newest >= self.last_pulse):
            self._past_since = self._past_since or now

    def _ending(self, now: float) -> str:
        if self._aborted:
            return self._aborted
        if self._past_since is not None and now - self._past_since >= SETTLE_S:
            return "last pulse"
        if self._finishing and now - self._heard >= SETTLE_S:
            return "stopped"
        if self._give_up is not None and now >= self._give_up:
            return "stopped"
        if self.last_pulse is not None and now - self._heard >= self._idle_s:
            return f"nothing came for {self._idle_s:g} s"
        return ""

    def _release(self, now: float) -> list[Event]:
        """Return what need not be held back any more."""
        n = len(self._held)
        if not self.reason:
            is_open = self.last_pulse is None and self.last_ns is None
            n = 0
            n_bytes = self._held_bytes
            while n < len(self._held):
                has_room = len(self._held) - n <= HOLD_EVENTS and n_bytes <= HOLD_BYTES
                if (is_open and has_room) or self._held[n].arrived > now - SETTLE_S:
                    break
                n_bytes -= nbytes(self._held[n].event)
                n += 1
        released, self._held = self._held[:n], self._held[n:]
        self._held_bytes -= sum(nbytes(held.event) for held in released)
        if released:
            self._passed_on = max(self._passed_on, released[-1].pulse_id)
        return [held.event for held in released]
