"""One stream's pulses as a source: from its rings, then as they come, each once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from forebay.errors import NotYetError, OverwrittenError
from forebay.event import Event
from forebay.ports import Source
from forebay.pulse import PulseRange
from forebay.retrieve.asked import Asked, Got, Report, missing_pulses
from forebay.retrieve.past import Pasts, Stream
from forebay.ring.epoch import EpochCounter

READ_EVENTS: Final = 64
READ_BYTES: Final = 8 * 2**20
"""One read returns no more events than this, and stops at the first that passes so many bytes."""


class Retrieval:
    """A source of the pulses asked for, by rising pulse id but for those that come late.

    First the rings are read, then the live stream is opened, then the rings once more for what came
    meanwhile, then the live stream; at the end the rings once more for what is still missing. A
    retrieval stays within the epoch that is the newest when it is made: once the pulse counter
    restarts, the same pulse ids are other beats, and it ends. For one thread.

    Parameters
    ----------
    pulses:
        A range, or selected pulse ids.
    deadline_s:
        Seconds from now after which nothing more is waited for.
    idle_s:
        The same, from the last event that came.
    settle_s:
        How long pulses that are missing are waited for once the last one came live.
    clock:
        Seconds, monotonic.

    Attributes
    ----------
    reason:
        Why it ended, see `Report`; empty before.

    Raises
    ------
    OverwrittenError
        If all pulses asked for have expired.
    NotYetError
        If all are still to come, and the stream has no live source.
    """

    def __init__(
        self,
        stream: Stream,
        pulses: PulseRange | Sequence[int] | Asked,
        *,
        deadline_s: float = math.inf,
        idle_s: float = math.inf,
        settle_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reason = ""
        self._stream = stream
        self._asked = pulses if isinstance(pulses, Asked) else Asked(pulses)
        self._clock = clock
        self._deadline = clock() + deadline_s
        self._idle_s = idle_s
        self._settle_s = settle_s
        self._heard = clock()
        self._passed_at: float | None = None
        self._ending = ""
        self._got = Got()
        self._from_past = 0
        self._high = -1
        self._live: Source | None = None
        self._epochs = EpochCounter()
        self._pasts = Pasts(stream.pasts)
        self._there = self._pasts.span
        self._unsure = self._asked.index_from(min((s.last for s in self._pasts.spans), default=-1) + 1)
        self._check()
        self._past: Iterator[Event] | None = self._sweep(0)
        self._next = self._open_live

    @property
    def report(self) -> Report:
        """What came and what is missing, by now."""
        asked, got = self._asked, self._got
        return Report(
            source=self._stream.name,
            expected=asked.n,
            got=got.n,
            missing=asked.n - got.n,
            missing_pulses=missing_pulses(asked, got),
            from_past=self._from_past,
            from_live=got.n - self._from_past,
            span=self._there,
            reason=self.reason,
        )

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        while not self.reason:
            if self._past is not None:
                events = self._read_past(self._past)
                if not events:
                    self._past = None
                    self._next()
            else:
                events = self._read_live(timeout)
                if not events and not self._ending:
                    return ()
            if events:
                return events
        return None

    def close(self) -> None:
        """Let go of the live stream; may be called twice."""
        self.reason = self.reason or "stopped"
        self._past = None
        if self._live is not None:
            self._live.close()
            self._live = None

    def _check(self) -> None:
        asked, there = self._asked, self._there
        what = f"Pulses {asked} of {self._stream.name}"
        if there is not None and asked.last < there.first:
            raise OverwrittenError(
                f"{what} have expired: the rings hold {there}.", "Ask earlier, or enlarge the rings."
            )
        if self._stream.live is None and (there is None or asked.first > there.last):
            holds = f"the rings hold {there}" if there else "the rings are empty"
            raise NotYetError(f"{what} have not come yet: {holds}.", "Ask once they have come.")

    def _sweep(self, i_first: int, only_missing: bool = False) -> Iterator[Event]:
        """Return what the rings have of the pulses from this index on."""
        asked = self._asked
        if i_first >= asked.n:
            return iter(())
        first, last = i_first, asked.n - 1
        if only_missing:
            gaps = [gap for gap in self._got.gaps(asked.n) if gap[1] >= i_first]
            if not gaps:
                return iter(())
            first, last = max(i_first, gaps[0][0]), gaps[-1][1]
        return chain.from_iterable(self._pasts.read(pulses) for pulses in asked.hulls(first, last))

    # what follows when a sweep is over, in this order

    def _open_live(self) -> None:
        newest = self._pasts.newest()
        if newest is not None:
            self._epochs = EpochCounter(0, newest.pulse_id, newest.time_ns)
        span = self._pasts.span
        if not self._pasts.restarted and (span is None or span.last < self._asked.last):
            if self._stream.live is None:
                self._ending = "nothing newer is there"
            else:
                self._live = self._stream.live()
        self._past, self._next = self._sweep(self._asked.index_from(self._high + 1)), self._go_live
        self._heard = self._clock()

    def _go_live(self) -> None:
        span = self._pasts.span
        if not self._pasts.holds_still():
            self._end("the pulse counter restarted")
        elif self._live is None:
            self._end(self._ending or "last pulse")
        elif span is not None and span.last >= self._asked.last:
            self._passed_at = self._clock()

    def _end(self, reason: str) -> None:
        """End after a last look for what is missing, in rings that may know better by now."""
        self._ending = reason
        if reason.endswith("restarted") or self._got.n == self._asked.n:
            self._finish()
        else:
            self._past, self._next = self._sweep(self._unsure, only_missing=True), self._finish

    def _finish(self) -> None:
        self.reason = self._ending
        if self._got.n < self._asked.n and self._ending == "last pulse" and not self._pasts.holds_still():
            self.reason = "the pulse counter restarted"
        self.close()

    def _read_past(self, past: Iterator[Event]) -> list[Event]:
        events: list[Event] = []
        n_bytes = 0
        for event in past:
            if self._take(event):
                events.append(event)
                n_bytes += getattr(event.arrays, "nbytes", 0)
                if len(events) == READ_EVENTS or n_bytes > READ_BYTES:
                    break
        self._from_past += len(events)
        return events

    def _read_live(self, timeout: float) -> list[Event]:
        assert self._live is not None
        now = self._clock()
        left = min(self._deadline, self._heard + self._idle_s) - now
        if self._passed_at is not None:
            left = min(left, self._passed_at + self._settle_s - now)
        came = self._live.read(max(0.0, min(timeout, left)))
        now = self._clock()
        events: list[Event] = []
        for event in came or ():
            self._heard = now
            if self._epochs.place(event.pulse_id, event.time_ns):
                self._end("the pulse counter restarted")
                return events
            if event.pulse_id >= self._asked.last and self._passed_at is None:
                self._passed_at = now
            if self._take(event):
                events.append(event)
        if self._passed_at is not None and (
            self._got.n == self._asked.n or now >= self._passed_at + self._settle_s
        ):
            self._end("last pulse")
        elif came is None:
            self._end("the source ended")
        elif now >= self._deadline:
            self._end("deadline")
        elif now >= self._heard + self._idle_s:
            self._end(f"nothing came for {self._idle_s:g} s")
        return events

    def _take(self, event: Event) -> bool:
        """Say whether the event is asked for and had not come yet."""
        index = self._asked.index(event.pulse_id)
        if index is None or not self._got.add(index):
            return False
        self._high = max(self._high, event.pulse_id)
        return True
