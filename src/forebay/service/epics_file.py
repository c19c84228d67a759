"""Process variables out of their buffer into a file: a range of pulses, or a time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from forebay.config import Config
from forebay.errors import RangeError
from forebay.pulse import PulseRange
from forebay.ring.pv_reader import AFTER_S, PvReader, retrieve_pvs
from forebay.service.epics import COLLECT_S, epics_config
from forebay.store.channel_manifest import ChannelRecording
from forebay.store.channel_points import write_points
from forebay.store.manifest import Request
from forebay.wire.epics import split_name
from forebay.wire.pulse_map import REACH_NS, PulseMap

WAIT_S: Final = 10.0
"""How long to wait for the end of a range that has not passed yet."""

_POLL_S = 0.1
_LAYOUT = "pvdata"


@dataclass(slots=True)
class Written:
    """What a file of process variables holds; of those `not_recorded` the buffer has nothing."""

    variables: int = 0
    points: int = 0
    never_connected: list[str] = field(default_factory=list)
    not_recorded: list[str] = field(default_factory=list)


def write_pvs(
    config: Config,
    name: str,
    path: Path,
    asked: PulseRange | tuple[int, int],
    *,
    pvs: Sequence[str] = (),
    general: Mapping[str, str] | None = None,
    wait_s: float = WAIT_S,
    stop: threading.Event | None = None,
    job: str = "",
) -> Written:
    """Write the points of process variables over a range of pulses, or a time, to a file of PVDATA.

    Which points belong to it: see `forebay.ring.pv_reader.retrieve_pvs`. A variable lies under its name
    without its protocol, unless another one in the file would too.

    Parameters
    ----------
    name:
        Of the buffer in the configuration.
    asked:
        Pulses, or first and last time in ns since 1970, ends included.
    pvs:
        Names as configured; empty for all of the buffer.
    general:
        Texts for the group ``/general``.
    wait_s:
        How long to wait for the end of the range to pass; `stop` ends the waiting.
    job:
        Id of the job that asks.

    Raises
    ------
    ConfigError
        If there is no such buffer.
    RangeError
        If the buffer does not hold the range, or its end does not pass in time.
    RingError
        If the buffer cannot be read.
    StoreError
        If the file cannot be written.
    """
    buffer = epics_config(config, name)
    names = list(dict.fromkeys(pvs or buffer.names))
    reader = PvReader(buffer.directory)
    pulses, first_ns = _await(reader, asked, time.monotonic() + wait_s, stop or threading.Event())
    _check_held(reader, name, asked, first_ns)
    found = retrieve_pvs(reader, asked, names, pulses=pulses)
    shown = _names_in_file(names)
    points = [replace(found[one], name=shown[one]) for one in names if one in found]
    configuration: dict[str, object] = {"buffer": name, "undecodable": reader.undecodable}
    if not isinstance(asked, PulseRange):
        configuration |= {"first": _iso(asked[0]), "last": _iso(asked[1])}
    recording = ChannelRecording(
        source=f"epics.{name}",
        layout=_LAYOUT,
        channels=tuple(shown.values()),
        general=dict(general or {}),
        requested=Request(pulses=str(asked) if isinstance(asked, PulseRange) else None, job=job),
        configuration=configuration,
    )
    write_points(path, recording, points)
    return Written(
        variables=len(points),
        points=sum(map(len, points)),
        never_connected=[one for one in names if one in found and not found[one].connected.any()],
        not_recorded=[one for one in names if one not in found],
    )


def _await(
    reader: PvReader, asked: PulseRange | tuple[int, int], deadline: float, stop: threading.Event
) -> tuple[PulseMap, int]:
    """Wait for the end of a range; return the pulses near it, and when it began for us."""
    if isinstance(asked, PulseRange):
        while True:
            pulses = reader.pulse_map(asked)
            try:
                return pulses, pulses.span(asked).received_first_ns
            except RangeError:
                if time.monotonic() >= deadline or stop.wait(_POLL_S):
                    raise
    first_ns, last_ns = asked
    if last_ns < first_ns:
        raise RangeError(f"{_iso(first_ns)} to {_iso(last_ns)} is reversed.", "Give the earlier time first.")
    written_s = last_ns / 1e9 + 2 * COLLECT_S
    while time.time() < written_s:
        if time.monotonic() >= deadline or stop.wait(_POLL_S):
            raise RangeError(f"{_iso(last_ns)} has not passed yet.", "Ask again later, or wait longer.")
    after_ns = last_ns + int(AFTER_S * 1e9)  # pulses are found by when they were written
    return reader.pulse_map_of_time(first_ns - REACH_NS, after_ns), first_ns


def _check_held(reader: PvReader, name: str, asked: PulseRange | tuple[int, int], first_ns: int) -> None:
    """Refuse a range of which the beginning is not there."""
    span = reader.time_span
    if span is None:
        raise RangeError(f"The buffer {name} is empty.", "Run its service first.")
    if first_ns < span[0]:
        what = f"Pulses {asked} begin" if isinstance(asked, PulseRange) else "The time asked for begins"
        raise RangeError(
            f"{what} at {_iso(first_ns)}; the buffer {name} holds {_iso(span[0])} to {_iso(span[1])}.",
            "Ask for what it holds, or let it keep more.",
        )


def _names_in_file(names: Sequence[str]) -> dict[str, str]:
    bare = {name: split_name(name)[1] for name in names}
    n_same = Counter(bare.values())
    return {name: one if n_same[one] == 1 else name for name, one in bare.items()}


def _iso(time_ns: int) -> str:
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z"
