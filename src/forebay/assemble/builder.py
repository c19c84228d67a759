"""Join the frames of all modules to events: the one decision is whether a pulse is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forebay.assemble.senders import Senders
from forebay.ring.slots import BUILD_COUNTERS

_COLUMNS = ("pulse_id", "owner", "time_ns", "slot", "module", "missing_packets", "epoch")


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """An event as the builder releases it: where its frames lie and what is missing, never pixels.

    Attributes
    ----------
    pulse_id:
        The pulse that its frames share.
    time_ns:
        Arrival of the earliest of its frames: ns since 1970, UTC.
    slot:
        Slot of the shared ring that holds its frames.
    owner:
        uint64 (module,): each module's owner word at rest; 0 where the module is absent. Read only.
    missing_packets:
        uint32 (module,): packets that never came; all packets of a frame where the module is absent.
        Read only.
    """

    pulse_id: int
    time_ns: int
    slot: int
    owner: NDArray[np.uint64]
    missing_packets: NDArray[np.uint32]


class _Open:
    """A pulse of which something has come."""

    __slots__ = ("absent", "missing", "opened_ns", "owner", "pulse_id", "slot", "time_ns")

    def __init__(
        self, pulse_id: int, slot: int, time_ns: int, opened_ns: int, n_modules: int, n_packets: int
    ) -> None:
        self.pulse_id = pulse_id
        self.slot = slot
        self.time_ns = time_ns
        self.opened_ns = opened_ns
        self.owner = [0] * n_modules
        self.missing = [n_packets] * n_modules
        self.absent = n_modules


class Builder:
    """Joins frames by pulse id and releases events in order.

    An event is released when it is complete and next in line, when more than `patience` newer pulses
    are open, or `deadline_ns` after its first frame; before an event that is given up go the older ones.
    Nothing is next in line before the first release of a run of the counter, so the first pulse always
    waits: frames that overtook each other at the start are not lost.

    Refused are frames of a pulse already released (late), of a pulse and module that is there already
    (duplicate, the first one stays) and of pulses that cannot be (implausible). Where the refused frames
    show that the detector's counter has restarted or jumped, the builder follows: it releases everything
    open and starts anew at that pulse.

    Not thread-safe. Times come from one clock of the caller that never goes back.

    Parameters
    ----------
    n_modules, packets_per_module:
        Size of a complete event.
    patience:
        Newer pulses that may be open before the oldest is given up.
    deadline_ns:
        Longest wait from the first frame of a pulse to its release. As long a silence is a pause, after
        which the counter may start anywhere.
    pulse_step:
        Distance of neighbouring pulse ids.
    max_jump:
        Largest plausible step forward, in pulse steps.
    after:
        Newest pulse that another builder has released before: this one goes on behind it.

    Attributes
    ----------
    counters:
        By the names of `forebay.ring.slots.BUILD_COUNTERS`. After every call
        ``frames = used + late + duplicate + implausible``, and, when nothing is open,
        ``events * n_modules = used + missing_frames``. ``used`` goes down again when the frames of a
        module that ran ahead of all others turn out to be implausible.
    """

    def __init__(
        self,
        n_modules: int,
        packets_per_module: int,
        *,
        patience: int,
        deadline_ns: int,
        pulse_step: int,
        max_jump: int,
        after: int | None = None,
    ) -> None:
        self.counters = dict.fromkeys(BUILD_COUNTERS, 0)
        self._n_modules = n_modules
        self._n_packets = packets_per_module
        self._patience = patience
        self._deadline_ns = deadline_ns
        self._step = pulse_step
        self._window = max_jump * pulse_step
        self._senders = Senders(
            n_modules, window=self._window, near=patience * pulse_step, deadline_ns=deadline_ns
        )
        self._open: dict[int, _Open] = {}  # in the order of their first frames
        self._released: list[_Open] = []  # by the call that is going on
        self._last = -1 if after is None else after  # newest released pulse of this run of the counter
        self._next = -1 if after is None else after + pulse_step  # next in line; -1 while nobody knows
        self._newest = self._last  # newest accepted pulse of this run
        self._first = -1  # oldest accepted pulse of this run
        self._heard_ns = 0  # newest arrival of the first packets of pulses, UTC
        self._resumes = after is not None
        self._accepted_ns = -deadline_ns
        self._suspects: set[int] = set()  # modules that did not move when the others did

    def add(self, frames: NDArray[np.void], now_ns: int) -> list[Built]:
        """Take a batch of frames and return the events that are done, oldest first.

        Frames of one batch arrived together: nothing is given up before all of them have been looked at,
        so a batch may hold any number of pulses of one module before those of the next.

        Parameters
        ----------
        frames:
            (frame,) of `forebay.ring.slots.FRAME`.
        """
        if self._resumes:
            self._resumes, self._accepted_ns = False, now_ns  # not quiet: another builder was at work
        if now_ns - self._accepted_ns >= self._deadline_ns:
            self._expire(now_ns)
        counters = self.counters
        counters["frames"] += len(frames)
        possible = (frames["module"] < self._n_modules) & (frames["owner"] != 0)
        if not possible.all():
            counters["implausible"] += len(frames) - int(possible.sum())
            frames = frames[possible]
        open_, senders = self._open, self._senders
        at, accepted_ns, epochs, away = senders.at, senders.accepted_ns, senders.epoch, senders.away
        n_used = 0
        for pulse_id, owner, time_ns, slot, module, missing, epoch in zip(
            *[frames[name].tolist() for name in _COLUMNS], strict=True
        ):
            event = open_.get(pulse_id)
            if event is None or event.owner[module] or epoch != epochs[module]:
                event = self._admit(pulse_id, time_ns, slot, module, epoch, now_ns)
                if event is None:
                    continue
            event.owner[module] = owner
            event.missing[module] = missing
            event.absent -= 1
            if time_ns < event.time_ns:
                event.time_ns = time_ns
            at[module] = pulse_id
            accepted_ns[module] = now_ns
            away[module] = 0
            n_used += 1
        if n_used:
            counters["used"] += n_used
            self._accepted_ns = now_ns
        return self.tick(now_ns)

    def tick(self, now_ns: int) -> list[Built]:
        """Return the events that are done because time has passed, oldest first."""
        self._advance()
        if self._expire(now_ns):
            self._advance()
        return self._built()

    def drain(self) -> list[Built]:
        """Return every open event, oldest first: at the end nothing is worth waiting for."""
        self._release_all()
        return self._built()

    def _admit(
        self, pulse_id: int, time_ns: int, slot: int, module: int, epoch: int, now_ns: int
    ) -> _Open | None:
        """Return the event that takes this frame, opened if need be; None, and counted, if none does."""
        senders = self._senders
        restarted = senders.epoch[module] not in (-1, epoch)
        reason = self._refusal(pulse_id, module)
        if reason:
            quiet = now_ns - self._accepted_ns >= self._deadline_ns
            is_latecomer = (
                senders.is_new(module)
                and 0 <= self._first <= pulse_id
                and time_ns - self._heard_ns < self._deadline_ns
            )
            breaks = senders.refuse(module, pulse_id) and not is_latecomer
            if quiet and (breaks or restarted):
                self._follow(pulse_id, set())
            elif moved := senders.moved(pulse_id, now_ns, sure=restarted):
                self._follow(pulse_id, set(range(self._n_modules)) - set(moved))
            else:
                self.counters[reason] += 1
                return None
        senders.epoch[module] = epoch
        event = self._open.get(pulse_id)
        if event is None:
            event = _Open(pulse_id, slot, time_ns, now_ns, self._n_modules, self._n_packets)
            self._open[pulse_id] = event
            self._heard_ns = max(self._heard_ns, time_ns)
            self._first = pulse_id if self._first < 0 else min(self._first, pulse_id)
            self._newest = max(self._newest, pulse_id)
            self._accepted_ns = now_ns
        return event

    def _refusal(self, pulse_id: int, module: int) -> str:
        """Name the counter of refused frames for this frame; empty if it is accepted."""
        event = self._open.get(pulse_id)
        if pulse_id <= self._last:
            return "late"
        if event is not None:
            return "duplicate" if event.owner[module] else ""
        reach = self._step if module in self._suspects else self._window
        return "implausible" if 0 <= self._newest < pulse_id - reach else ""

    def _follow(self, pulse_id: int, suspects: set[int]) -> None:
        """Go where the detector's counter has gone: a new run that starts about `pulse_id`.

        The suspects, who were not seen to move, may join pulses but not skip ahead until an event is
        complete: one of them may have led away from all others.
        """
        self._release_all()
        if pulse_id <= self._last:
            self._last = -1
        self._next = -1
        self._first = self._newest = pulse_id
        self._suspects = suspects
        self._senders.restart()
        self.counters["followed"] += 1

    def _advance(self) -> None:
        """Release what is complete and next in line, and what `patience` gives up."""
        open_ = self._open
        front = open_.get(self._next)
        if (front is None or front.absent) and len(open_) <= self._patience + 1:
            return
        pulses = sorted(open_)
        for i, pulse_id in enumerate(pulses):
            event = open_[pulse_id]
            if event.absent or pulse_id != self._next:
                i_limit = i + self._patience + 1
                if i_limit >= len(pulses) or self._is_stray(open_[pulses[i_limit]], overdue=False):
                    return
            self._release(event)

    def _expire(self, now_ns: int) -> bool:
        """Release what has waited for the deadline, and drop strays; return whether there was any."""
        due, strays = -1, []
        for event in self._open.values():
            if event.opened_ns + self._deadline_ns > now_ns:
                break
            if self._is_stray(event, overdue=True):
                strays.append(event)
            else:
                due = max(due, event.pulse_id)
        for event in strays:
            n_frames = self._n_modules - event.absent
            self.counters["used"] -= n_frames
            self.counters["implausible"] += n_frames
            del self._open[event.pulse_id]
        for pulse_id in sorted(pulse_id for pulse_id in self._open if pulse_id <= due):
            self._release(self._open[pulse_id])
        if strays:
            self._newest = max(self._open, default=self._last)
        return due >= 0 or bool(strays)

    def _is_stray(self, event: _Open, *, overdue: bool) -> bool:
        return self._senders.is_stray(event.pulse_id, event.owner, event.opened_ns, overdue=overdue)

    def _release_all(self) -> None:
        for pulse_id in sorted(self._open):
            self._release(self._open[pulse_id])

    def _release(self, event: _Open) -> None:
        del self._open[event.pulse_id]
        self._released.append(event)
        self._last = event.pulse_id
        self._next = event.pulse_id + self._step
        if self._suspects and not event.absent:
            self._suspects = set()

    def _built(self) -> list[Built]:
        """Return what was released since the last call as values, and count it."""
        released, self._released = self._released, []
        if not released:
            return []
        owner = np.array([event.owner for event in released], np.uint64)
        missing = np.array([event.missing for event in released], np.uint32)
        owner.flags.writeable = missing.flags.writeable = False
        counters = self.counters
        counters["events"] += len(released)
        counters["incomplete_events"] += int(np.count_nonzero(missing.any(axis=1)))
        counters["missing_frames"] += sum(event.absent for event in released)
        return [
            Built(event.pulse_id, event.time_ns, event.slot, owner[i], missing[i])
            for i, event in enumerate(released)
        ]
