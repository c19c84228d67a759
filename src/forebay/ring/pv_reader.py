"""Process variables out of their disk rings: what they were over a range of pulses or of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from forebay.errors import WireError
from forebay.pulse import MAX_PULSE_ID, PulseRange
from forebay.ring.disk_reader import RecordReader
from forebay.ring.pvs import PULSE, PULSES, REPEAT_S, VALUES
from forebay.wire.epics import Batch, decode
from forebay.wire.pulse_map import REACH, PulseMap, Span
from forebay.wire.pv_points import Gathered, PvPoints

AFTER_S: Final = 60.0
"""How long after the end of a span its closing points are looked for."""

_BACK_S: Final = REPEAT_S + 5


class PvRecords(Protocol):
    """Where `retrieve_pvs` reads; `PvReader` is one."""

    def batches(self, first_ns: int, last_ns: int) -> Iterator[Batch]:
        """Yield what was written in this time, ends included."""
        ...

    def pulse_map(self, pulses: PulseRange) -> PulseMap:
        """Return the times of these pulses, and of `REACH` more on either side."""
        ...

    @property
    def time_span(self) -> tuple[int, int] | None:
        """Oldest and newest time of what was written; None while there is nothing."""
        ...


class PvReader:
    """Reads the rings that a `forebay.ring.pvs.PvRing` writes, in any process; `RingError` if there are none.

    Attributes
    ----------
    undecodable:
        Records that could not be decoded.
    """

    def __init__(self, directory: Path) -> None:
        self.values = RecordReader(directory / VALUES)
        self.pulses = RecordReader(directory / PULSES)
        self.undecodable = 0

    @property
    def time_span(self) -> tuple[int, int] | None:
        """Oldest and newest time of what was written; None while there is nothing."""
        return self.values.time_span

    def batches(self, first_ns: int, last_ns: int) -> Iterator[Batch]:
        """Yield what was written in this time, ends included."""
        for record in self.values.read_time(first_ns, last_ns):
            try:
                yield decode(record.parts)
            except WireError:
                self.undecodable += 1

    def pulse_map(self, pulses: PulseRange) -> PulseMap:
        """Return the times of these pulses, and of `REACH` more on either side, in the newest epoch."""
        wide = PulseRange(max(0, pulses.first - REACH), min(MAX_PULSE_ID, pulses.last + REACH))
        return self._map(b"".join(record.parts[0] for record in self.pulses.read(wide)))

    def pulse_map_of_time(self, first_ns: int, last_ns: int) -> PulseMap:
        """Return the pulses of a time, ends included, from whatever epoch."""
        return self._map(b"".join(record.parts[0] for record in self.pulses.read_time(first_ns, last_ns)))

    def _map(self, raw: bytes) -> PulseMap:
        rows = np.frombuffer(raw[: len(raw) // PULSE.itemsize * PULSE.itemsize], PULSE)
        return PulseMap.of(rows["pulse_id"], rows["timestamp_ns"], rows["received_ns"])


def retrieve_pvs(
    records: PvRecords,
    asked: PulseRange | tuple[int, int],
    names: Sequence[str],
    *,
    pulses: PulseMap | None = None,
    tie: bool = True,
    after_s: float = AFTER_S,
) -> dict[str, PvPoints]:
    """Return the points of some process variables over a range of pulses or a time.

    Of each: the last one at or before the start, all inside, the first one at or after the end. What
    counts is when it came to us, for that is the order in which a channel had its states (a channel that is
    connected again may show a value stamped long ago); a value that came before the start or after the end
    but was stamped between them is inside as well.

    Parameters
    ----------
    asked:
        Pulses, or first and last time in ns since 1970, ends included. A range of pulses lasts from the
        newest known pulse at or before its first to the oldest at or after its last.
    names:
        As configured. A name that was not recorded then is missing in the result.
    pulses:
        Which pulse a time belongs to; by default those of `asked`, none for a time.
    tie:
        Whether a value stamped at the time of a pulse belongs to it; see `PulseMap.at`.
    after_s:
        How long after the end the first point after it is looked for.

    Raises
    ------
    RangeError
        If the time of the pulses is not known.
    """
    if isinstance(asked, PulseRange):
        pulses = records.pulse_map(asked) if pulses is None else pulses
        span = pulses.span(asked)
    else:
        span = Span(*asked, *asked)
    last_ns = span.received_last_ns + int(after_s * 1e9)
    oldest_ns = (records.time_span or (0, 0))[0]
    batches: list[Batch] = []
    back_s = _BACK_S
    read_from = last_ns + 1
    while True:  # backwards, until there is a point: then the others were repeated too
        first_ns = max(span.received_first_ns - back_s * 1_000_000_000, oldest_ns)
        if first_ns < read_from:
            batches += records.batches(first_ns, read_from - 1)
            read_from = first_ns
        gathered = Gathered(batches, names)
        if gathered.begins_before(span.received_first_ns) or first_ns <= oldest_ns:
            break
        back_s *= 4
    return {points.name: points for points in gathered.points(span, pulses, tie=tie)}
