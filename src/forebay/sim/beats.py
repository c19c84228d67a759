"""The simulated clock: which pulse ids are sent, in order, with restarts and jumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Beat:
    """One trigger of all modules.

    Attributes
    ----------
    index:
        Triggers since the simulator started, from 0.
    pulse_id:
        What the modules send.
    epoch:
        Restarts and jumps so far: tells equal pulse ids apart.
    frame_number:
        Triggers since the start or the last restart, from 1.
    silence_s:
        How long nothing is sent before it, beside what the rate asks for.
    """

    index: int
    pulse_id: int
    epoch: int
    frame_number: int
    silence_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Leap:
    """Where the counter of the detector leaves its way: instead of `at`, or the first after it, comes `to`.

    Each leap happens once, after `silence_s` seconds in which nothing is sent; one that goes back is a
    restart.
    """

    at: int
    to: int
    silence_s: float = 0.0


def beats(first: int, step: int, count: int | None, leaps: Sequence[Leap] = ()) -> Iterator[Beat]:
    """Return `count` beats from pulse id `first` on, or beats without end; leaps happen in their order."""
    pulse_id, epoch, frame_number, index = first, 0, 1, 0
    while count is None or index < count:
        silence_s = 0.0
        if epoch < len(leaps) and pulse_id >= leaps[epoch].at:
            leap = leaps[epoch]
            frame_number = 1 if leap.to <= leap.at else frame_number
            pulse_id, epoch, silence_s = leap.to, epoch + 1, leap.silence_s
        yield Beat(index, pulse_id, epoch, frame_number, silence_s)
        index, pulse_id, frame_number = index + 1, pulse_id + step, frame_number + 1
