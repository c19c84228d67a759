"""Recording from PACMAN boards: blocks into files until somebody says stop, then what is in flight."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forebay.event import Event
from forebay.ports import Sink
from forebay.store.manifest import Counters
from forebay.stream.pacman import PacmanInlet
from forebay.wire.pacman_batch import PacmanArrays, messages_of

_QUIET_S = 0.3
"""A board of which nothing comes for so long has nothing in flight: many times what a network needs."""


class Messages(Protocol):
    """A source of blocks that knows the time of each board's newest message."""

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return the next blocks."""
        ...

    @property
    def last_seconds(self) -> dict[str, int]:
        """Board -> time in its newest message, unix seconds."""
        ...


@dataclass(frozen=True)
class Drained:
    """How a recording ended.

    Attributes
    ----------
    last_second:
        Of messages that were written, by the clocks of the boards.
    n_behind:
        Words of later seconds, which came and were left out.
    late:
        Boards that were still sending of earlier seconds when the patience ended.
    """

    last_second: int
    n_behind: int
    late: tuple[str, ...]


def record(
    inlet: Messages,
    sinks: Sequence[Sink],
    stop: Callable[[], bool],
    *,
    patience: float = 5.0,
    timeout: float = 0.05,
) -> Drained:
    """Move blocks until `stop`, then drain: whatever boards had sent by then is written.

    A message is of the run if its board sent it in the second of the stop, or before.
    """
    while not stop():
        for_sinks(inlet.read(timeout), sinks)
    return drain(inlet, sinks, int(time.time()), patience)


def for_sinks(events: Sequence[Event] | None, sinks: Sequence[Sink]) -> None:
    """Give blocks to all sinks."""
    if events:
        for sink in sinks:
            sink.write(events)


def drain(inlet: Messages, sinks: Sequence[Sink], last_second: int, patience: float) -> Drained:
    """Write what comes of `last_second` and before, until each board is past it or silent.

    Parameters
    ----------
    last_second:
        Of the host. A board whose clock is ahead of it has as its last second that of its newest message.
    patience:
        Most seconds to wait.
    """
    end = time.monotonic() + patience
    limits = {name: max(last_second, newest) for name, newest in inlet.last_seconds.items()}
    heard = dict.fromkeys(inlet.last_seconds, time.monotonic())
    n_behind = 0

    def open_boards() -> list[str]:
        now = time.monotonic()
        return [
            name
            for name, second in inlet.last_seconds.items()
            if second <= limits[name] and now - heard[name] < _QUIET_S
        ]

    while open_boards() and time.monotonic() < end:
        events = inlet.read(0.05)
        if events is None:
            break
        kept = []
        for event in events:
            heard[event.source] = time.monotonic()
            of_run, n_words = _of_run(event, limits[event.source])
            n_behind += n_words
            if of_run is not None:
                kept.append(of_run)
        began = time.monotonic()
        for_sinks(kept, sinks)
        took = time.monotonic() - began
        heard = {name: at + took for name, at in heard.items()}  # while a disk is slow nobody is silent
    return Drained(last_second, n_behind, tuple(open_boards()))


def _of_run(event: Event, last_second: int) -> tuple[Event | None, int]:
    """Return the block without messages of later seconds, and how many words these have."""
    arrays = messages_of(event)
    batch = arrays.batch
    if batch.n_messages == len(arrays.lengths) and (batch.seconds <= last_second).all():
        return event, 0
    is_of_run = ~batch.is_good
    is_of_run[batch.is_good] = batch.seconds <= last_second
    n_behind = int(batch.counts[batch.seconds > last_second].sum())
    if not is_of_run.any():
        return None, n_behind
    data = np.frombuffer(arrays.data, np.uint8)[np.repeat(is_of_run, arrays.lengths)]
    kept = PacmanArrays(data.tobytes(), arrays.lengths[is_of_run], arrays.io_group, arrays.asic_version)
    return Event(event.source, event.pulse_id, event.time_ns, kept, event.missing_packets), n_behind


def counters_of(inlet: PacmanInlet) -> Counters:
    """Return the counters of every board, as manifests have those of receivers."""
    return Counters(receiver=inlet.counters)
