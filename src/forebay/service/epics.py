"""The epics service: process variables into a buffer on disk, with the times of pulses."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict

from forebay.config import Config, EpicsConfig
from forebay.errors import ConfigError
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.pvs import PvRing
from forebay.service.counted import counted
from forebay.service.process import notify, say
from forebay.stream.epics import EpicsSource
from forebay.wire.epics import disconnected

COLLECT_S = 0.1
"""Updates are written so often, all that came meanwhile together."""

REPORT_S = 60.0


def epics_config(config: Config, name: str) -> EpicsConfig:
    """Return the configuration of one buffer of PVs; `ConfigError` if there is none of that name."""
    if name not in config.epics:
        known = ", ".join(config.epics) or "none"
        raise ConfigError(f"The buffer {name!r} of PVs is not configured.", f"Configured are: {known}.")
    return config.epics[name]


def epics(config: Config, name: str, stop: threading.Event) -> None:
    """Buffer the process variables of `name` until `stop`, then write what came and that we are gone.

    Raises
    ------
    ConfigError
        If there is no such buffer, it has no PVs, or a library is missing.
    RingError
        If the buffer has another writer or cannot be written.
    """
    asked = epics_config(config, name)
    if not asked.names:
        raise ConfigError(f"The buffer {name} has no PVs.", f"Name some in epics.{name}.pvs.")
    ring = PvRing(asked.directory, DiskLimits(asked.max_bytes, asked.max_age_s), asked.pulse_id_pv)
    try:
        begin_ns = time.time_ns()  # before any channel can have answered
        ring.write([disconnected(one, begin_ns) for one in asked.names], begin_ns)
        source = EpicsSource(
            asked.names, archive_deadband=asked.archive_deadband, long_strings=asked.long_strings
        )
        try:
            notify("READY=1")
            say("buffering", pvs=len(asked.names), directory=asked.directory)
            with counted(lambda: _counters(source, ring)):
                _collect(source, ring, stop)
        finally:
            source.close()
            ring.write(source.read(0) or (), source.now())
            _report("buffered", source, ring)
    finally:
        ring.close(time.time_ns())


def _collect(source: EpicsSource, ring: PvRing, stop: threading.Event) -> None:
    """Move updates, at most every `COLLECT_S`, until `stop`."""
    reported = time.monotonic()
    n_lost = 0
    while not stop.wait(COLLECT_S):
        ring.write(source.read(0) or (), source.now())
        if time.monotonic() - reported >= REPORT_S:
            reported = time.monotonic()
            _report("buffering", source, ring)
        lost = source.counters.not_taken + ring.counters.not_written
        if lost > n_lost:
            say("updates are lost", logging.WARNING, lost=lost - n_lost, **asdict(ring.counters))
            n_lost = lost


def _report(event: str, source: EpicsSource, ring: PvRing) -> None:
    say(event, connected=source.n_connected, **_counters(source, ring))


def _counters(source: EpicsSource, ring: PvRing) -> dict[str, int]:
    came = {f"source_{key}": value for key, value in asdict(source.counters).items()}
    return came | asdict(ring.counters)
