"""What a simulated detector did, recomputed without asking it."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.sim.beats import Beat, beats
from forebay.sim.faults import Fate, Plan, plan
from forebay.sim.options import Options


class Truth:
    """The first `n_pulses` pulses of a simulator with these options.

    A packet that is held back longer than the simulator runs is never sent: it counts as lost. Packets
    held back count as missing, so let `Faults.late_pulses` be more than the receiver waits.

    Parameters
    ----------
    options:
        As given to `forebay.sim.detector.run`.
    n_pulses:
        How many pulses were sent (`Sent.n_pulses`); by default `options.count`.
    """

    def __init__(self, options: Options, n_pulses: int | None = None) -> None:
        n_pulses = options.count if n_pulses is None else n_pulses
        if n_pulses is None:
            raise ConfigError("Options without a count say nothing about the end.", "Give n_pulses.")
        self.options = options
        leaps = options.faults.leaps
        self.beats = tuple(beats(options.first_pulse, options.pulse_step, n_pulses, leaps))

    @cached_property
    def _by_pulse(self) -> dict[tuple[int, int], Beat]:
        return {(beat.pulse_id, beat.epoch): beat for beat in self.beats}

    def plan(self, pulse_id: int, module: int, epoch: int = 0) -> Plan:
        """Return what happened to one frame; `epoch` counts restarts and jumps before it.

        Raises
        ------
        ConfigError
            If that pulse was never sent.
        """
        beat = self._by_pulse.get((pulse_id, epoch))
        if beat is None:
            raise ConfigError(f"Pulse {pulse_id} of epoch {epoch} is not among the {len(self.beats)} sent.")
        return self._plan(beat, module)

    def _plan(self, beat: Beat, module: int) -> Plan:
        faults = self.options.faults
        made = plan(faults, beat, module, self.options.layout.packets_per_frame)
        if beat.index + faults.late_pulses >= len(self.beats):
            made.fate[made.fate == Fate.LATE] = Fate.LOST
        return made

    def expected_missing(self, pulse_id: int, module: int, epoch: int = 0) -> int:
        """Return how many packets of this frame a receiver misses."""
        return self.plan(pulse_id, module, epoch).n_missing

    def missing(self) -> NDArray[np.uint32]:
        """Return the missing packets of everything sent, (beat, module); `beats` says the pulse ids."""
        modules = range(self.options.n_modules)
        counts = [[self._plan(beat, m).n_missing for m in modules] for beat in self.beats]
        return np.array(counts, np.uint32).reshape(len(self.beats), self.options.n_modules)

    def hurt_pulses(self) -> list[int]:
        """Return the pulse ids of which a packet is missing, in the order in which they were sent."""
        return [self.beats[int(i)].pulse_id for i in np.flatnonzero(self.missing().any(axis=1))]

    def totals(self, module: int | None = None) -> dict[str, int]:
        """Return counts by kind (see `Plan.counts`) of one module or of all.

        ``received`` is what a receiver that loses nothing gets, ``malformed`` what it must refuse.
        """
        modules = range(self.options.n_modules) if module is None else (module,)
        totals: Counter[str] = Counter()
        for beat in self.beats:
            for m in modules:
                totals.update(self._plan(beat, m).counts())
        malformed = ("short", "long", "empty", "wrong_number", "wrong_pulse", "garbage")
        totals["malformed"] = sum(totals[kind] for kind in malformed)
        totals["received"] = totals["malformed"] + sum(
            totals[kind] for kind in ("sent", "late", "duplicate", "foreign")
        )
        return dict(totals)
