"""A detector that is not there: real packets of every module, at a rate, with faults on demand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

from forebay.sim.beats import Beat, beats
from forebay.sim.link import Link
from forebay.sim.options import Options

__all__ = ["Options", "Sent", "run"]

_ROUND = 4
"""Pulses between two meetings of the modules at full speed: so far may one be ahead of another."""

_MOST_THREADS = 4
_NAP_S = 0.1
"""How often `stop` is asked during a pause."""

_PROGRESS_S = 0.2


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent.

    Attributes
    ----------
    n_pulses:
        Beats, with those of which a module or all of them sent nothing.
    packets, bytes:
        Datagrams and their bytes, foreign ones and garbage included.
    packets_by_module:
        Datagrams to each port.
    by_fault:
        Counts by kind as in `forebay.sim.faults.Plan.counts`, without those that are 0.
    elapsed_s:
        From the first beat to the end.
    """

    n_pulses: int
    packets: int
    bytes: int
    packets_by_module: tuple[int, ...]
    by_fault: dict[str, int]
    elapsed_s: float


def run(
    options: Options, stop: Callable[[], bool] = lambda: False, progress: Callable[[Sent], None] | None = None
) -> Sent:
    """Send until the count is reached or `stop()` is true; return what was sent.

    All modules send one round (a pulse, a burst) before any begins the next. Rounds start at absolute
    times, so that the mean rate does not drift.

    Parameters
    ----------
    stop:
        Asked before each round, and ten times a second in pauses.
    progress:
        Told about five times a second what was sent so far.

    Raises
    ------
    ConfigError
        If the host is not known or a local address is not ours.
    """
    n_threads = min(options.n_modules, options.threads or _MOST_THREADS)
    with ExitStack() as stack:
        links = [stack.enter_context(closing(Link(options, i))) for i in range(options.n_modules)]
        pool = stack.enter_context(ThreadPoolExecutor(n_threads, "sim"))
        groups = [links[i::n_threads] for i in range(n_threads)]
        start = origin = told = time.monotonic()
        n_pulses = 0
        for beats_of_round in _rounds(options):
            first = beats_of_round[0]
            due = origin + first.index / options.rate_hz if options.rate_hz else origin
            if first.silence_s:
                silence_ends = max(due, time.monotonic()) + first.silence_s
                origin, due = origin + silence_ends - due, silence_ends
            if not _wait_until(due, stop):
                break
            for done in [pool.submit(_send, group, beats_of_round) for group in groups]:
                done.result()
            n_pulses += len(beats_of_round)
            now = time.monotonic()
            if progress is not None and now - told >= _PROGRESS_S:
                told = now
                progress(_sum(links, n_pulses, now - start))
        for link in links:
            link.finish()
        return _sum(links, n_pulses, time.monotonic() - start)


def _rounds(options: Options) -> Iterator[Sequence[Beat]]:
    all_beats = beats(options.first_pulse, options.pulse_step, options.count, options.faults.leaps)
    size = options.burst if options.rate_hz else _ROUND
    beats_of_round: list[Beat] = []
    for beat in all_beats:
        if beats_of_round and (len(beats_of_round) == size or beat.silence_s):
            yield beats_of_round
            beats_of_round = []
        beats_of_round.append(beat)
    if beats_of_round:
        yield beats_of_round


def _send(links: Sequence[Link], beats_of_round: Sequence[Beat]) -> None:
    for beat in beats_of_round:
        for link in links:
            link.send(beat)


def _wait_until(due: float, stop: Callable[[], bool]) -> bool:
    """Sleep until `due` on the monotonic clock; False if `stop()` came first."""
    while not stop():
        left = due - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, _NAP_S))
    return False


def _sum(links: Sequence[Link], n_pulses: int, elapsed_s: float) -> Sent:
    totals: Counter[str] = Counter()
    for link in links:
        totals.update(link.counts)
    by_module = tuple(link.counts["packets"] for link in links)
    kinds = {name: n for name, n in totals.items() if n and name not in ("packets", "bytes")}
    return Sent(n_pulses, totals["packets"], totals["bytes"], by_module, kinds, elapsed_s)
