"""Process variables in disk rings: their updates in one, the times of pulses in another.

Each value is written again once a minute while it does not change, so that the state of every channel at
any time is found within a minute before it, and does not expire with the segment it came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from forebay.errors import WireError
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_writer import RecordWriter
from forebay.wire.epics import Update, disconnected, encode
from forebay.wire.epics_types import pulse_id_of

REPEAT_S: Final = 60
"""A value that has not changed for so long is written again."""

RECORD_BYTES: Final = 2**22
"""Values of one record, but for a single one that is larger."""

RECORD_UPDATES: Final = 65_536
MIN_PULSE_BYTES: Final = 2**26
VALUES: Final = "values"
PULSES: Final = "pulses"

PULSE: Final = np.dtype([("pulse_id", "<i8"), ("timestamp_ns", "<i8"), ("received_ns", "<i8")])
"""A pulse as its PV showed it; a record of the ring of pulses is an array of these with growing ids."""


@dataclass(slots=True)
class PvCounters:
    """What became of the updates given to a ring: ``received = written + refused + not_written``.

    `refused` are neither numbers nor text, or too large; `not_written` found the disk full. `repeated`
    are written again because nothing new came. `pulses` is how many pulse ids were kept, `no_pulse` how
    many updates of the pulse-id PV had none.
    """

    received: int = 0
    written: int = 0
    refused: int = 0
    not_written: int = 0
    repeated: int = 0
    pulses: int = 0
    no_pulse: int = 0


class PvRing:
    """The one writer of the updates of some process variables.

    Parameters
    ----------
    directory:
        Two rings are made in it, `VALUES` and `PULSES`.
    limits:
        Of the values; the pulses have an eighth of the bytes, at least `MIN_PULSE_BYTES`.
    pulse_id_pv:
        The PV whose values are pulse ids.

    Raises
    ------
    RingError
        If the rings have another writer or cannot be written.
    """

    def __init__(self, directory: Path, limits: DiskLimits, pulse_id_pv: str | None = None) -> None:
        self.counters = PvCounters()
        self._pulse_id_pv = pulse_id_pv
        self._last: dict[str, tuple[int, Update]] = {}  # when written and what, longest ago first
        directory.mkdir(parents=True, exist_ok=True)
        self._values = RecordWriter(directory / VALUES, limits)
        try:
            pulse_bytes = max(limits.max_bytes // 8, MIN_PULSE_BYTES)
            self._pulses = RecordWriter(directory / PULSES, DiskLimits(pulse_bytes, limits.max_age_s))
        except BaseException:
            self._values.close()
            raise

    def write(self, updates: Sequence[Update], now_ns: int) -> None:
        """Write updates in order of arrival, and again those that were written `REPEAT_S` ago.

        Parameters
        ----------
        now_ns:
            The time, at or after the arrival of all of them; it becomes the time of their records.
        """
        counters = self.counters
        counters.received += len(updates)
        for records in _split(updates):
            counters.written += self._put(records, now_ns)
        for update in updates:
            self._last.pop(update.name, None)
            self._last[update.name] = (now_ns, update)
        if self._pulse_id_pv is not None:
            self._write_pulses([update for update in updates if update.name == self._pulse_id_pv], now_ns)
        self._repeat(now_ns)

    def close(self, now_ns: int) -> None:
        """Write that nobody knows any more how the channels are, and let another writer in."""
        ends = [
            disconnected(name, now_ns + i)
            for i, (name, (_, update)) in enumerate(self._last.items())
            if update.connected
        ]
        try:
            if ends:
                self.write(ends, now_ns + len(ends))
        finally:
            self._last.clear()
            self._values.close()
            self._pulses.close()

    def _repeat(self, now_ns: int) -> None:
        oldest = now_ns - REPEAT_S * 1_000_000_000
        due = []
        for name, (written_ns, update) in self._last.items():
            if written_ns > oldest:
                break
            due.append((name, update))
        for name, update in due:
            self._last.pop(name)
            self._last[name] = (now_ns, update)
        for records in _split([update for _, update in due]):
            counted = self.counters.refused, self.counters.not_written
            self.counters.repeated += self._put(records, now_ns)
            self.counters.refused, self.counters.not_written = counted  # they came only once

    def _put(self, updates: Sequence[Update], now_ns: int) -> int:
        """Write one record and return how many updates are in it; one that cannot be kept is left out."""
        try:
            parts = encode(updates)
        except WireError:
            if len(updates) == 1:
                self.counters.refused += 1
                return 0
            return sum(self._put([update], now_ns) for update in updates)
        before = self._values.counters.written, self._values.counters.refused
        self._values.write([(now_ns, now_ns, parts)])
        if self._values.counters.written > before[0]:
            return len(updates)
        if self._values.counters.refused > before[1]:
            self.counters.refused += len(updates)
        else:
            self.counters.not_written += len(updates)
        return 0

    def _write_pulses(self, updates: Iterable[Update], now_ns: int) -> None:
        rows = []
        for update in updates:
            pulse_id = pulse_id_of(update.value, update.severity)
            if pulse_id is None:
                self.counters.no_pulse += update.connected
            else:
                rows.append((pulse_id, update.timestamp_ns, update.received_ns))
        if not rows:
            return
        pulses = np.array(rows, PULSE)
        cuts = [0, *(np.flatnonzero(np.diff(pulses["pulse_id"]) <= 0) + 1).tolist(), len(pulses)]
        runs = [pulses[first:stop] for first, stop in pairwise(cuts)]
        self._pulses.write([(int(run["pulse_id"][-1]), now_ns, [run.tobytes()]) for run in runs])
        self.counters.pulses += len(pulses)


def _split(updates: Sequence[Update]) -> Iterator[Sequence[Update]]:
    """Cut updates into records of limited size."""
    first, n_bytes = 0, 0
    for i, update in enumerate(updates):
        size = 0 if update.value is None else update.value.nbytes
        if i > first and (n_bytes + size > RECORD_BYTES or i - first == RECORD_UPDATES):
            yield updates[first:i]
            first, n_bytes = i, 0
        n_bytes += size
    if first < len(updates):
        yield updates[first:]
