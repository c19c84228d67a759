"""A run of LArPix data as a series of files: the next one begins after a time or a size, none has to wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from forebay.errors import ConfigError, StoreError
from forebay.event import Event
from forebay.store import manifest as m
from forebay.store.larpix_catalogue import write_entry
from forebay.store.larpix_file import LarpixFile
from forebay.store.larpix_manifest import LarpixManifest, LarpixRecording

Namer = Callable[[LarpixRecording, datetime], str]
"""Name of a file by its recording, with run and subrun, and the time at which it begins."""


def file_name(recording: LarpixRecording, begin: datetime) -> str:
    """Return ``packets-0000042-0001-2026_01_31_12_00_00_UTC.h5``: form, run, subrun and time."""
    run = "" if recording.run is None else f"{recording.run:07}-"
    return f"{recording.form}-{run}{recording.subrun:04}-{begin:%Y_%m_%d_%H_%M_%S_UTC}.h5"


@dataclass(frozen=True)
class SeriesOptions:
    """How a run is cut into files.

    Attributes
    ----------
    max_seconds, max_bytes:
        A file that is as old, or has as many bytes of messages, is followed by the next; 0 is no limit.
    namespace:
        Of the entries for the catalogue; None writes none.
    name:
        Makes the names of the files.
    """

    max_seconds: float = 0.0
    max_bytes: int = 0
    namespace: str | None = "larpix"
    name: Namer = field(default=file_name)


class LarpixSeries:
    """A sink for blocks of messages; every file is closed, and entered, in a thread beside the next one.

    `write` and `note` are for one thread.

    Parameters
    ----------
    directory:
        Where the files go.
    recording:
        Of every file; `subrun` is that of the first (1 if it has none), and counts up.
    counters:
        Asked whenever a file is closed for the counters of everything before it.
    clock:
        Seconds; for the age of files.

    Attributes
    ----------
    paths:
        Files begun so far.

    Raises
    ------
    StoreError
        If the first file cannot be written; from `write` and `close` also if an earlier one could not be.
    ConfigError
        If a limit is negative or the files cannot hold what they are to.
    """

    def __init__(
        self,
        directory: Path,
        recording: LarpixRecording,
        options: SeriesOptions | None = None,
        *,
        counters: Callable[[], m.Counters] = m.Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options or SeriesOptions()
        if self._options.max_seconds < 0 or self._options.max_bytes < 0:
            raise ConfigError("A file cannot be shorter than nothing.", "Give limits of 0 (none) or more.")
        self._directory = directory
        self._recording = recording
        self._counters = counters
        self._clock = clock
        self._next = recording.subrun or 1
        self._closing: list[Future[LarpixManifest]] = []
        self._before = dict.fromkeys(("received", "written", "not_written"), 0)
        self._before |= {f"words_{name}": 0 for name in self._before}
        self._reason = "stopped"
        self._is_closed = False
        self.paths: list[Path] = []
        self._file = self._begin()
        self._closer = ThreadPoolExecutor(1, "closer")

    def _begin(self) -> LarpixFile:
        begin = datetime.now(UTC)
        recording = msgspec.structs.replace(
            self._recording, subrun=self._next, start_time=m.now(), counters=self._counters()
        )
        path = self._directory / self._options.name(recording, begin)
        file = LarpixFile(path, recording, self._counters)
        self.paths.append(path)
        self._next += 1
        self._begun = self._clock()
        return file

    def write(self, events: Sequence[Event]) -> None:
        """Take these blocks, oldest first; raises as `LarpixFile.write`."""
        options = self._options
        is_old = options.max_seconds and self._clock() - self._begun >= options.max_seconds
        if is_old or (options.max_bytes and self._file.n_bytes >= options.max_bytes):
            self._follow()
        self._file.write(events)

    def note(self, seconds: int, text: str) -> None:
        """Take a text at its place among the packets; raises as `LarpixFile.note`."""
        self._file.note(seconds, text)

    def _follow(self) -> None:
        for done in [one for one in self._closing if one.done()]:
            done.result()  # a file that could not be closed is told now, not at the end
        ended = self._file
        self._file = self._begin()
        self._hand_over(ended, "followed by the next file")

    def _hand_over(self, file: LarpixFile, reason: str) -> None:
        file.conclude(reason)
        for name, count in file.counters.items():
            self._before[name] += count
        self._closing.append(self._closer.submit(self._finish, file))

    def _finish(self, file: LarpixFile) -> LarpixManifest:
        file.close()
        if file.manifest is None:
            raise StoreError(f"The file {file.path} was not closed.")
        if self._options.namespace is not None:
            write_entry(file.path, file.manifest, self._options.namespace)
        return file.manifest

    def conclude(self, reason: str) -> None:
        """Say why the run ends; the last file says it."""
        self._reason = reason

    def close(self) -> None:
        """Close the last file and wait for all; may be called twice.

        Raises
        ------
        StoreError
            The first one of any file.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._hand_over(self._file, self._reason)
        self._closer.shutdown()
        for one in self._closing:
            one.result()

    @property
    def manifests(self) -> list[LarpixManifest]:
        """Of every file that is closed."""
        return [one.result() for one in self._closing if one.done() and one.exception() is None]

    @property
    def counters(self) -> dict[str, int]:
        """Blocks and words of all files; see `LarpixFile.counters`."""
        now = {} if self._is_closed else self._file.counters
        return {name: count + now.get(name, 0) for name, count in self._before.items()}
