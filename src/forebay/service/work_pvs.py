"""The jobs *record* and *retrieve* of process variables: out of their buffer, once the range has passed."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path

from forebay.config import Config
from forebay.errors import ConfigError, RangeError
from forebay.pulse import PulseRange
from forebay.ring.pv_reader import PvReader
from forebay.run.jobs import RecordParameters, RetrieveParameters
from forebay.run.owner import host_name
from forebay.run.values import Plan
from forebay.service.epics import epics_config
from forebay.service.epics_file import write_pvs
from forebay.service.task import Outcome, Standing, Task
from forebay.store.catalog import File
from forebay.store.left import manifest_of
from forebay.store.paths import make_folder, part_of

MOST_WAIT_S = 7 * 86_400.0
"""A range that has not passed after so long never will."""


def is_of_pvs(config: Config, source: str) -> bool:
    """Whether a source is a buffer of process variables; a detector of the same name comes first."""
    return source in config.epics and source not in config.detectors


def record_pvs(task: Task, asked: RecordParameters | RetrieveParameters, path: Path) -> Outcome:
    """Wait until the range or time has passed, and write it; what was retrieved once can be retrieved again.

    Raises
    ------
    ForebayError
        If the buffer does not hold the range, or the file cannot be written.
    """
    if not (path.exists() and manifest_of(path).requested.job == task.job.id):
        _check_held(task.config, asked)
        n_tries = sum(change.state == "running" for change in task.job.history)
        if n_tries > 1 and (asked.file is None or "{acquisition" in asked.file):
            part_of(path).unlink(missing_ok=True)  # a dead worker's: nobody else has this number
        make_folder(path.parent)
        try:
            written = write_pvs(
                task.config,
                asked.sources[0],
                path,
                span_of(asked),
                wait_s=MOST_WAIT_S,
                stop=task.stop,
                job=task.job.id,
            )
        except RangeError:
            if not task.stop.is_set():
                raise
            return Outcome({}, "It was ended before its range had passed.", failed=True)
        told = asdict(written)
    else:
        part_of(path).unlink(missing_ok=True)  # its worker died before it had cleaned up
        told = {}
    n_asked = task.job.n_asked
    task.follow(lambda: Standing(n_asked or 0, n_asked))
    n_bytes = path.stat().st_size
    file = File(
        path=str(path),
        job=task.job.id,
        proposal=task.job.proposal,
        run=task.job.run,
        acquisition=task.job.acquisition,
        source=asked.sources[0],
        n_bytes=n_bytes,
        created_ns=time.time_ns(),
    )
    return Outcome({"file": str(path), "bytes": n_bytes, **told}, "last pulse", files=(file,))


def span_of(asked: RecordParameters | RetrieveParameters) -> PulseRange | tuple[int, int]:
    """Return the pulses, or the first and last time in ns, of a request.

    Raises
    ------
    ConfigError
        If it asks for images or has no end: variables have neither.
    """
    if asked.pulses is not None:
        return PulseRange.parse(asked.pulses)
    if asked.seconds is not None:
        now = time.time_ns()
        return now, now + int(asked.seconds * 1_000_000_000)
    raise ConfigError(
        f"{asked.sources[0]} is a buffer of process variables; they come when they change.",
        "Ask for pulses or for seconds.",
    )


def _check_held(config: Config, asked: RecordParameters | RetrieveParameters) -> None:
    """Refuse pulses that the buffer has let go, which nobody need wait for; `RangeError`."""
    held = PvReader(epics_config(config, asked.sources[0]).directory).pulses.span
    span = span_of(asked)
    if isinstance(span, PulseRange) and held is not None and span.first < held.first:
        raise RangeError(
            f"Pulses {span} of {asked.sources[0]} are asked for; its buffer holds {held}.",
            "Ask for what it holds, or let it keep more.",
        )


def plan_pvs(config: Config, asked: RecordParameters | RetrieveParameters, file: str, existing: Path) -> Plan:
    """Return what a job would write into `file`; `RangeError` if it is gone."""
    _check_held(config, asked)
    return Plan(
        source=asked.sources[0],
        file=file,
        host=host_name(),
        n_asked=asked.n_asked,
        most_bytes=None,
        free_bytes=shutil.disk_usage(existing).free,
    )
