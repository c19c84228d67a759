"""The jobs *record* and *retrieve*: a pulse range, a number or a time of one source into one file, once."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from forebay.config import Config
from forebay.errors import RingError, StoreError
from forebay.pulse import PulseRange
from forebay.run.jobs import Parameters, RecordParameters, RetrieveParameters, file_name, parse_parameters
from forebay.service.bsread_record import BsreadRecorder
from forebay.service.process import say
from forebay.service.record import Recorder
from forebay.service.remembered import stays_for_a_while
from forebay.service.tables import detector_config
from forebay.service.task import Outcome, Standing, Task
from forebay.service.verdict import verdict
from forebay.service.work_bsread import bsread_recorder, channels_of, is_of_bsread
from forebay.service.work_pvs import is_of_pvs, record_pvs
from forebay.service.work_streams import is_streamed, record_stream
from forebay.store.catalog import File
from forebay.store.channel_manifest import ChannelManifest
from forebay.store.left import ends_of, is_unbegun, manifest_of, part_left, throw_away
from forebay.store.manifest import Manifest, Request
from forebay.store.paths import contained, journal_of, part_of
from forebay.store.recover import recover

MOST_RANGES = 100
"""Missing ranges and incomplete pulses that a result lists; the manifest in the file lists more."""


def record(task: Task) -> Outcome:
    """Record, or give back what a dead worker made of the same job.

    Raises
    ------
    ForebayError
        If it cannot begin, or the disk fails and nothing is kept.
    """
    asked = as_recording(parse_parameters(task.job.kind, task.job.parameters))
    path = path_of(task, asked)
    if is_unbegun(path) and sum(change.state == "running" for change in task.job.history) > 1:
        throw_away(path)
    if is_of_pvs(task.config, asked.sources[0]):
        return record_pvs(task, asked, path)
    if is_streamed(task.config, asked.sources[0]):
        return record_stream(task, asked, path)
    if (done := take_over(task, asked, path)) is not None:
        return done
    if task.stop.is_set():
        return Outcome({}, "It was ended before anything was recorded.", failed=True)
    recorder = _recorder(task, asked, path)
    task.follow(lambda: standing(recorder))
    try:
        manifest = recorder.run(task.stop)
    except StoreError as error:
        if not path.exists():
            raise
        return outcome(task, path, manifest_of(path), str(error), failed=True)
    reason, failed = verdict(task, manifest)
    return outcome(task, path, manifest, reason, failed=failed)


def _recorder(
    task: Task, asked: RecordParameters | RetrieveParameters, path: Path
) -> Recorder | BsreadRecorder:
    """Return the recording of a job; raises as `Recorder` or `BsreadRecorder`."""
    request = request_of(task, asked)
    if is_of_bsread(task.config, asked.sources[0]):
        return bsread_recorder(task.config, asked, path, request)
    file = str(path.relative_to(task.directory.resolve()))
    return Recorder(below(task.config, task.directory), asked.sources[0], file, request, idle_s=asked.idle_s)


def as_recording(parameters: Parameters) -> RecordParameters | RetrieveParameters:
    """Return the parameters of a job that records; nothing else comes here."""
    assert isinstance(parameters, RecordParameters | RetrieveParameters)
    return parameters


def below(config: Config, directory: Path) -> Config:
    """Return the configuration with files below a proposal's folder."""
    record = config.record.model_copy(update={"directory": directory})
    return config.model_copy(update={"record": record})


def path_of(task: Task, asked: RecordParameters | RetrieveParameters) -> Path:
    """Return the file of a job; `StoreError` if it leads out of the proposal's folder."""
    name = file_name(asked.file, task.job.run or 0, task.job.acquisition or 0, asked.sources[0])
    return contained(task.directory, name)


def request_of(task: Task, asked: RecordParameters | RetrieveParameters) -> Request:
    """Return what the file will say that it was asked for."""
    source = asked.sources[0]
    if is_of_bsread(task.config, source):
        step = task.config.bsread[source].pulse_step
    else:
        step = detector_config(task.config, source).build.pulse_step
    pulses = asked.pulses
    if pulses is not None and "/" not in pulses:
        given = PulseRange.parse(pulses)
        pulses = str(PulseRange(given.first, given.last, step))
    if isinstance(asked, RetrieveParameters):
        return Request(pulses=pulses, pulse_step=step, job=task.job.id)
    return Request(pulses, asked.images, asked.seconds, step, task.job.id)


def standing(recorder: Recorder | BsreadRecorder) -> Standing:
    """Return how far a recording is."""
    progress = recorder.progress
    return Standing(progress.n_written, progress.n_asked, asdict(progress))


def take_over(task: Task, asked: RecordParameters | RetrieveParameters, path: Path) -> Outcome | None:
    """Return what a dead worker made of this very job; None if the job is to be done, from its beginning.

    A file that is in its place is the result. A part is thrown away if nothing is lost by beginning again:
    it has nothing in it, or all pulses asked for are still remembered. Otherwise it is recovered, and the job
    has failed unless all that was asked for had been written.
    """
    if path.exists():
        found = manifest_of(path)
        if found.requested.job != task.job.id:
            return None  # somebody else's: the recorder says so
        if journal_of(part_of(path)).exists():
            recover(part_of(path))  # its worker died before it had cleaned up
        reason, failed = verdict(task, found)
        return outcome(task, path, found, reason, failed=failed)
    left = part_left(path)
    if left is None or left[0] != task.job.id:
        return None
    if not task.stop.is_set() and (not left[1] or _is_remembered(task.config, asked)):
        say("begins again", job=task.job.id, part=part_of(path))
        throw_away(path)
        return None
    recover(part_of(path))
    found = manifest_of(path)
    reason, failed = verdict(task, found)
    return outcome(task, path, found, reason, failed=failed)


def _is_remembered(config: Config, asked: RecordParameters | RetrieveParameters) -> bool:
    """Whether pulses were asked for by name, and none of them is gone."""
    if asked.pulses is None:
        return False
    try:
        return stays_for_a_while(config, asked.sources[0], PulseRange.parse(asked.pulses))
    except RingError:
        return False


def outcome(task: Task, path: Path, manifest: Manifest, reason: str, *, failed: bool) -> Outcome:
    """Return what came of a recording: file, size, account of each source, counters."""
    sources: dict[str, Any] = {}
    for name, account in manifest.sources.items():
        told: dict[str, Any] = msgspec.to_builtins(account)
        told["incomplete"] = told["incomplete"][:MOST_RANGES]
        for part in ("missing", "overwritten", "not_written"):
            told[part]["is_whole"] = told[part]["is_whole"] and len(told[part]["ranges"]) <= MOST_RANGES
            told[part]["ranges"] = told[part]["ranges"][:MOST_RANGES]
        sources[name] = told
    result: dict[str, Any] = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "closed_by": manifest.closed_by,
        "ended": manifest.reason,
        "sources": sources,
        "counters": msgspec.to_builtins(manifest.counters.difference),
    }
    if isinstance(manifest, ChannelManifest):
        result |= channels_of(manifest)
    n_got = sum(source.got for source in manifest.sources.values())
    task.follow(lambda: Standing(n_got, task.job.n_asked))
    job = task.job
    first, last = ends_of(path) or (None, None)
    file = File(
        path=str(path),
        job=job.id,
        proposal=job.proposal,
        run=job.run,
        acquisition=job.acquisition,
        source=", ".join(manifest.sources),
        n_bytes=result["bytes"],
        first_pulse=first,
        last_pulse=last,
        n_expected=sum(source.expected for source in manifest.sources.values()),
        n_got=n_got,
        n_missing=sum(source.missing.n for source in manifest.sources.values()),
        created_ns=time.time_ns(),
    )
    return Outcome(result, reason, failed, (file,))
