"""Frames a second through the builder, against a loop that only appends them to lists in a dictionary.

Run ``python bench/builder.py [--quick]``. Both get the same batches, in turns; a round is one turn each.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from forebay.assemble.builder import Builder
from forebay.ring.slots import FRAME

N_BATCH = 256


def batches(n_modules: int, n_frames: int, dead: bool) -> list[NDArray[np.void]]:
    """Frames of consecutive pulses, each module once; with `dead`, nothing of the last module."""
    frames = np.zeros(n_frames, FRAME)
    sending = n_modules - dead
    frames["pulse_id"] = 1 + np.arange(n_frames) // sending
    frames["module"] = np.arange(n_frames) % sending
    frames["owner"] = 2
    return [frames[i : i + N_BATCH] for i in range(0, n_frames, N_BATCH)]


def build(work: list[NDArray[np.void]], n_modules: int) -> int:
    builder = Builder(n_modules, 128, patience=8, deadline_ns=10**9, pulse_step=1, max_jump=10_000)
    n_events = sum(len(builder.add(frames, i)) for i, frames in enumerate(work))
    return n_events + len(builder.drain())


def append(work: list[NDArray[np.void]], n_modules: int) -> int:
    """The least that a dictionary can do: no order, no arrays, nothing refused."""
    events: dict[int, list[tuple[int, int]]] = {}
    n_events = 0
    for frames in work:
        for pulse_id, module, owner in zip(
            frames["pulse_id"].tolist(), frames["module"].tolist(), frames["owner"].tolist(), strict=True
        ):
            event = events.setdefault(pulse_id, [])
            event.append((module, owner))
            if len(event) == n_modules:
                del events[pulse_id]
                n_events += 1
    return n_events + len(events)


def rate(run: Callable[[list[NDArray[np.void]], int], int], work: list[NDArray[np.void]], n: int) -> float:
    start = time.process_time()
    n_events = run(work, n)
    seconds = time.process_time() - start
    assert n_events == int(work[-1]["pulse_id"][-1])
    return sum(map(len, work)) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the frames, fewer rounds")
    quick = parser.parse_args().quick
    n_frames, rounds = (50_000, 3) if quick else (500_000, 9)
    print(f"{n_frames} frames a turn, {rounds} rounds, batches of {N_BATCH}; per CPU second, median (spread)")
    print(f"{'modules':>8} {'':<9} {'builder':>22} {'dict append':>22} {'ratio':>6}")
    for n_modules in (1, 2, 4, 8, 16, 32):
        for dead in (False, True):
            if n_modules == 1 and dead:
                continue
            work = batches(n_modules, n_frames, dead)
            rates: dict[str, list[float]] = {"build": [], "append": []}
            for _ in range(rounds):
                rates["build"].append(rate(build, work, n_modules))
                rates["append"].append(rate(append, work, n_modules))
            columns = [
                f"{statistics.median(r) / 1e6:6.2f} M ({min(r) / 1e6:.2f} .. {max(r) / 1e6:.2f})"
                for r in rates.values()
            ]
            ratio = statistics.median(b / a for b, a in zip(rates["build"], rates["append"], strict=True))
            what = "one dead" if dead else "whole"
            print(f"{n_modules:>8} {what:<9} {columns[0]:>22} {columns[1]:>22} {ratio:>6.2f}")


if __name__ == "__main__":
    main()
