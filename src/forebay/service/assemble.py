"""The assemble service: joins finished frames to events and releases them in the detector's ring."""

from __future__ import annotations

import threading
import time
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from forebay.assemble.builder import Builder, Built
from forebay.config import Config, DetectorConfig
from forebay.errors import OverwrittenError, RingError
from forebay.ring.shared import SharedRing, wait_attach
from forebay.ring.slots import BUILD_COUNTERS, FRAME
from forebay.service.counted import counted
from forebay.service.process import notify, say
from forebay.service.tables import detector_config
from forebay.stream.endpoint import ipc
from forebay.stream.frames import FramePuller

_READ_TIMEOUT_S = 0.01
_ATTACH_TIMEOUT_S = 10.0
_DRAIN_TIMEOUT_S = 0.2
_LONGEST_DRAIN_S = 2.0
"""A receiver that goes on must not keep us from stopping; the next assembler finds its frames in the ring."""


class Assembler:
    """Builds the events of one ring; begins where an assembler before it was killed."""

    def __init__(self, ring: SharedRing, detector: DetectorConfig) -> None:
        build = detector.build
        self.ring = ring
        self._builder = Builder(
            ring.n_modules,
            ring.packets_per_module,
            patience=build.patience,
            deadline_ns=int(build.deadline_s * 1e9),
            pulse_step=build.pulse_step,
            max_jump=build.max_jump,
            after=ring.event(ring.n_events - 1).pulse_id if ring.n_events else None,
        )
        ring.finish(finished=False)
        frames = ring.resting_frames()
        self._known = np.zeros((ring.n_slots, ring.n_modules), np.uint64)
        self._known[frames["slot"], frames["module"]] = frames["owner"]
        self._build(self._left_behind(frames))

    def _left_behind(self, frames: NDArray[np.void]) -> NDArray[np.void]:
        """Return those of the frames that belong to no event, in order of arrival."""
        released = np.array([self._is_released(int(pulse_id)) for pulse_id in frames["pulse_id"]], bool)
        frames = frames[~released]
        order: NDArray[np.intp] = np.argsort(frames["time_ns"], kind="stable")
        in_order: NDArray[np.void] = frames[order]
        return in_order

    def _is_released(self, pulse_id: int) -> bool:
        number = self.ring.slots.event_of(pulse_id)
        if number == 0:
            return False
        try:
            return self.ring.event(number - 1).pulse_id == pulse_id
        except OverwrittenError:
            return False

    def add(self, frames: NDArray[np.void]) -> None:
        """Take finished frames, all that are there, and release what is done.

        Left out are those that lay in the ring at the start, or left it before: they waited in the queue
        while nobody assembled, and twice the same pulses look like a counter that has restarted.
        """
        is_new = frames["owner"] > self._known[frames["slot"], frames["module"]]
        self._build(frames[is_new])

    def _build(self, frames: NDArray[np.void]) -> None:
        self._release(self._builder.add(frames, time.monotonic_ns()))

    def finish(self) -> None:
        """Release all that is open and say that nothing more comes."""
        self._release(self._builder.drain())
        self.ring.finish()
        say("assembled", **self._builder.counters)

    def _release(self, built: list[Built]) -> None:
        slots = self.ring.slots
        for one in built:
            slots.release(one.pulse_id, one.time_ns, one.slot, one.owner, one.missing_packets)
        counters = self._builder.counters
        slots.set_counters(
            self.ring.n_modules, np.array([counters[name] for name in BUILD_COUNTERS], np.uint64)
        )
        if built:
            slots.wake()


def assemble(config: Config, name: str, stop: threading.Event) -> None:
    """Assemble detector `name` until `stop`, then release what is in flight.

    When the receive service was restarted and owns a new ring, the old one is finished and the new one
    taken up.

    Raises
    ------
    RingError
        If there is no ring within 10 s.
    StreamError
        If somebody else assembles this detector.
    """
    detector = detector_config(config, name)
    puller = FramePuller(ipc(config.runtime_dir, f"{name}.frames"), FRAME)
    try:
        try:
            ring = wait_attach(name, config.runtime_dir, _ATTACH_TIMEOUT_S, writable=True, stop=stop.is_set)
        except RingError:
            if stop.is_set():
                return
            raise
        assembler = Assembler(ring, detector)
        notify("READY=1")
        say("assembling", modules=ring.n_modules, resumed_at=ring.n_events)
        try:
            with counted(lambda: puller.counters):
                timeout, end = _READ_TIMEOUT_S, 0.0
                while True:
                    batches = puller.read(timeout) or []
                    for generation, of_ring in groupby(batches, lambda batch: batch.generation):
                        if generation != assembler.ring.generation:
                            assembler = _change_ring(assembler, config, name, detector)
                        if generation == assembler.ring.generation:
                            assembler.add(np.concatenate([batch.frames for batch in of_ring]))
                    if not batches:
                        assembler.add(np.empty(0, FRAME))
                    if stop.is_set():
                        timeout = _DRAIN_TIMEOUT_S
                        end = end or time.monotonic() + _LONGEST_DRAIN_S
                        if not batches or time.monotonic() > end:
                            break
        finally:
            assembler.finish()
            assembler.ring.close()
    finally:
        say("taken over", **puller.counters)
        puller.close()


def _change_ring(old: Assembler, config: Config, name: str, detector: DetectorConfig) -> Assembler:
    """Take up the ring that is there now; the old one if frames of a receiver long dead came."""
    ring = wait_attach(name, config.runtime_dir, _ATTACH_TIMEOUT_S, writable=True)
    if ring.generation == old.ring.generation:
        ring.close()
        return old
    old.finish()
    old.ring.close()
    say("the receive service was restarted: new ring", generation=ring.generation)
    return Assembler(ring, detector)
