"""The job *record* of a camera or of a set of boards: what comes from now on, into one booked file, once."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from forebay.config import Config
from forebay.errors import ConfigError, StoreError
from forebay.run.jobs import RecordParameters, RetrieveParameters
from forebay.run.owner import host_name
from forebay.run.values import Plan
from forebay.service.stream_record import of_stream, stream_recording
from forebay.service.task import Outcome, Standing, Task
from forebay.service.verdict import verdict
from forebay.store.catalog import File
from forebay.store.larpix_manifest import LarpixManifest
from forebay.store.left import manifest_of_stream, stream_part_left, throw_away
from forebay.store.manifest import Request
from forebay.store.paths import journal_of, make_folder, part_of
from forebay.store.readout_layout import ROW_A, ReadoutManifest
from forebay.store.readout_reader import ReadoutReader
from forebay.store.recover import recover


def is_streamed(config: Config, source: str) -> bool:
    """Whether a source is a camera or a set of boards: it comes, and no buffer remembers it."""
    return source in config.cameras or source in config.boards


def check_measure(config: Config, asked: RecordParameters | RetrieveParameters) -> None:
    """Refuse what such a source cannot know.

    Raises
    ------
    ConfigError
        If it asks for pulses, for what went by, or for a number of images of boards.
    """
    source = asked.sources[0]
    if isinstance(asked, RetrieveParameters) or asked.pulses is not None:
        raise ConfigError(
            f"{source} has no buffer, and nobody knows its time tags ahead: it cannot be asked for pulses.",
            "Record it: for seconds, or until it is ended"
            + (", or a number of images." if source in config.cameras else "."),
        )
    if asked.images is not None and source in config.boards:
        raise ConfigError(
            f"{source} is a set of boards, which send words; {asked.images} images were asked for.",
            "Ask for seconds, or record until it is ended.",
        )


def record_stream(task: Task, asked: RecordParameters | RetrieveParameters, path: Path) -> Outcome:
    """Record, or give back what a dead worker made of the same job; it cannot be begun anew.

    Raises
    ------
    ForebayError
        If it cannot begin, or the disk fails and nothing is kept.
    """
    check_measure(task.config, asked)
    assert isinstance(asked, RecordParameters)  # check_measure refuses all others
    if (done := _take_over(task, path)) is not None:
        return done
    if task.stop.is_set():
        return Outcome({}, "It was ended before anything was recorded.", failed=True)
    make_folder(path.parent)
    request = Request(images=asked.images, seconds=asked.seconds, job=task.job.id)
    recording = stream_recording(task.config, asked.sources[0], path, request, asked.idle_s, task.job.run)

    def standing() -> Standing:
        counters = recording.counters
        return Standing(counters["written"], asked.images, dict(counters))

    task.follow(standing)
    try:
        recording.run(task.stop)
    except StoreError as error:
        if not path.exists():
            raise
        return _outcome(task, path, manifest_of_stream(path), str(error), failed=True)
    return _judged(task, path)


def _take_over(task: Task, path: Path) -> Outcome | None:
    """Return what a dead worker made of this very job; None if the job is to be done, from its beginning."""
    if path.exists():
        if manifest_of_stream(path).requested.job != task.job.id:
            return None  # somebody else's: the recording says so
        if journal_of(part_of(path)).exists():
            recover(part_of(path))  # its worker died before it had cleaned up
        return _judged(task, path)
    left = stream_part_left(path)
    if left is None or left[0] != task.job.id:
        return None
    if not left[1] and not task.stop.is_set():
        throw_away(path)
        return None
    recover(part_of(path))
    return _judged(task, path)


def _judged(task: Task, path: Path) -> Outcome:
    manifest = manifest_of_stream(path)
    reason, failed = verdict(task, manifest, *_content(manifest))
    return _outcome(task, path, manifest, reason, failed=failed)


def _content(manifest: ReadoutManifest | LarpixManifest) -> tuple[str, int]:
    """Return what the source is counted in, and how much of it is in the file."""
    if isinstance(manifest, LarpixManifest):
        return "words", sum(board.counters["words"] for board in manifest.boards.values())
    return "readouts", sum(source.got for source in manifest.sources.values())


def _outcome(
    task: Task, path: Path, manifest: ReadoutManifest | LarpixManifest, reason: str, *, failed: bool
) -> Outcome:
    """Return what came of it: file, size, what was received, written and lost, in the unit of the source.

    ``lost`` are readouts, or blocks, that the service sent and that did not come here; ``restarts`` of the
    service leave a gap of unknown length; of boards that are ``silent`` nothing came at all.
    """
    job, source = task.job, str(task.job.parameters["sources"][0])
    unit, n_got = _content(manifest)
    counted = manifest.counters.difference
    prefix = "words_" if unit == "words" else ""
    stream = of_stream(counted.receiver.get("stream", {}))
    result: dict[str, Any] = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "closed_by": manifest.closed_by,
        "ended": manifest.reason,
        "unit": unit,
        "got": n_got,
        "not_written": counted.recorder.get(f"{prefix}not_written", 0),
        "incomplete": sum(one.n_incomplete for one in manifest.sources.values()),
        **stream,
        "silent": _silent(manifest),
        "counters": msgspec.to_builtins(counted),
    }
    n_missing = result["not_written"] + (
        0 if prefix else stream["lost"]
    )  # of boards nobody knows the lost words
    first, last = _ends(path) if unit == "readouts" and n_got else (None, None)
    task.follow(lambda: Standing(n_got, job.n_asked))
    file = File(
        path=str(path),
        job=job.id,
        proposal=job.proposal,
        run=job.run,
        acquisition=job.acquisition,
        source=source,
        n_bytes=result["bytes"],
        first_pulse=first,
        last_pulse=last,
        n_expected=n_got + n_missing,
        n_got=n_got,
        n_missing=n_missing,
        created_ns=time.time_ns(),
    )
    return Outcome(result, reason, failed, (file,))


def _silent(manifest: ReadoutManifest | LarpixManifest) -> list[str]:
    boards = manifest.boards.items() if isinstance(manifest, LarpixManifest) else ()
    return [name for name, board in boards if not board.counters["messages"]]


def _ends(path: Path) -> tuple[int, int]:
    """Return the first and the last time tag of a file of readouts, which has some."""
    with closing(ReadoutReader(path)) as reader:
        first, last = reader.read(0, 1), reader.read(len(reader) - 1)
    return int(first["time_ns"][0]), int(last["time_ns"][0])


def plan_stream(
    config: Config, asked: RecordParameters | RetrieveParameters, file: str, existing: Path
) -> Plan:
    """Return what a job would write into `file`.

    Raises
    ------
    ConfigError
        As `check_measure`.
    """
    check_measure(config, asked)
    return Plan(
        source=asked.sources[0],
        file=file,
        host=host_name(),
        n_asked=asked.n_asked,
        most_bytes=None if asked.n_asked is None else asked.n_asked * ROW_A.itemsize,
        free_bytes=shutil.disk_usage(existing).free,
    )
