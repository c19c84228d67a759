"""A run of readouts, one file after the other, with names as SSDAQ gives them and never one over another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError, StoreError
from forebay.event import Event
from forebay.store.paths import journal_of, part_of
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording, check_recording
from forebay.wire.ssreadout import from_events

Enumeration = Literal["date", "order", "none"]

_F = TypeVar("_F")

_DATES = {"A": "%Y-%m-%d.%H:%M", "B": "%Y-%m-%d_%H%M"}
_MIB = 2**20


def names(
    prefix: str, enumeration: Enumeration, generation: str, now: Callable[[], datetime], suffix: str = ".hdf5"
) -> Iterator[str]:
    """Yield the names that come into question for the next file, best first, without end.

    Nothing stands between prefix and number, as in the original. ``date`` and ``none`` give a second file
    of the same name ``-2`` behind it.
    """
    if enumeration == "order":
        yield from (f"{prefix}{i:03}{suffix}" for i in count(1))
    stem = prefix + (now().strftime(_DATES[generation]) if enumeration == "date" else "")
    yield f"{stem}{suffix}"
    yield from (f"{stem}-{i}{suffix}" for i in count(2))


def is_free(path: Path) -> bool:
    """Whether neither the file nor a part of it is there."""
    part = part_of(path)
    return not any(os.path.lexists(one) for one in (path, part, journal_of(part)))


def begun_at_free(folder: Path, candidates: Iterable[str], begin: Callable[[Path], _F]) -> _F:
    """Begin a file at the first path in `folder` at which nothing is.

    Parameters
    ----------
    begin:
        Makes it; `StoreError` if it cannot. Where somebody else took the name meanwhile, the next is tried.
    """
    for name in candidates:
        path = folder / name
        if not is_free(path):
            continue
        try:
            return begin(path)
        except StoreError:
            if is_free(path):
                raise
    raise AssertionError("names do not end")


def check_folder(folder: Path) -> None:
    """Find out whether files can be made in a folder; nothing stays there.

    Raises
    ------
    StoreError
        If they cannot.
    """
    if not folder.is_dir():
        raise StoreError(f"The folder {folder} is not there.", "Make it, or name another.")
    try:
        with TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise StoreError(
            f"No file can be made in {folder}: {error.strerror}.", "Mend that, or name another folder."
        ) from error


def check_series(folder: Path, prefix: str, enumeration: str, limit_mib: float | None) -> None:
    """Find out whether files can be made one after the other in a folder, before any work starts.

    Raises
    ------
    ConfigError
        If the enumeration or the limit is none that there is, or the prefix has a folder in it.
    StoreError
        If no file can be made in the folder.
    """
    if enumeration not in get_args(Enumeration):
        choices = ", ".join(get_args(Enumeration))
        raise ConfigError(f"Files cannot be enumerated by {enumeration!r}.", f"Choose one of {choices}.")
    if limit_mib is not None and limit_mib <= 0:
        raise ConfigError(f"A file cannot be limited to {limit_mib} MiB.", "Give more than 0, or none.")
    if "/" in prefix or "\0" in prefix:
        raise ConfigError(f"The file prefix {prefix!r} has a '/' in it.", "Name the folder as folder.")
    check_folder(folder)


def _utc() -> datetime:
    return datetime.now(UTC)


class ReadoutSeries:
    """A sink for readouts that begins a new file where the camera's count does, or one gets too long.

    The first file is made with the first readout.

    Parameters
    ----------
    folder:
        Must exist, and take files.
    prefix:
        What the names of the files begin with.
    enumeration:
        What follows: ``date`` (UTC, to the minute), ``order`` (001, 002, ...: the first that is free), or
        ``none``.
    limit_mib:
        Length behind which the next file begins, MiB; None for no limit.

    Raises
    ------
    ConfigError
        If the enumeration, the limit or the recording is none that there is.
    StoreError
        If no file can be made in the folder; from `append`, `write` and `close`, as from `ReadoutFile`.

    Attributes
    ----------
    paths:
        Files begun, in order.
    counters:
        Sums over all files, as `ReadoutFile.counters`.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        recording: ReadoutRecording,
        enumeration: Enumeration = "date",
        limit_mib: float | None = None,
        now: Callable[[], datetime] = _utc,
    ) -> None:
        check_recording(recording)
        check_series(folder, prefix, enumeration, limit_mib)
        self.paths: list[Path] = []
        self._folder = folder
        self._prefix = prefix
        self._recording = recording
        self._enumeration: Enumeration = enumeration
        self._limit_bytes = None if limit_mib is None else int(limit_mib * _MIB)
        self._now = now
        self._file: ReadoutFile | None = None
        self._closed: dict[str, int] = {"received": 0, "written": 0, "not_written": 0}

    @property
    def counters(self) -> dict[str, int]:
        """Sums over all files, as `ReadoutFile.counters`."""
        now = self._file.counters if self._file is not None else {}
        return {name: n + now.get(name, 0) for name, n in self._closed.items()}

    def write(self, events: Sequence[Event]) -> None:
        """Take events that are readouts, oldest first."""
        if events:
            self.append(from_events(events))

    def append(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, (readout,) of `forebay.wire.ssreadout.READOUT`, oldest first."""
        starts = [0, *np.flatnonzero(readouts["number"] == 1).tolist(), len(readouts)]
        for start, stop in pairwise(starts):
            if start < stop:
                self._append(readouts[start:stop])

    def _append(self, readouts: NDArray[np.void]) -> None:
        file = self._file
        if file is not None and file.n and (readouts["number"][0] == 1 or self._is_full(file)):
            self._end("the next file begins")
        if self._file is None:
            found = names(self._prefix, self._enumeration, self._recording.generation, self._now)
            self._file = begun_at_free(self._folder, found, lambda path: ReadoutFile(path, self._recording))
            self.paths.append(self._file.path)
        self._file.append(readouts)

    def write_telescope(self, ra: float, dec: float, time_s: float, seconds: int, rest_ns: int) -> bool:
        """Take where the telescope pointed (generation B); return False if no file has begun yet.

        Raises as `ReadoutFile.write_telescope`.
        """
        if self._file is None:
            return False
        self._file.write_telescope(ra, dec, time_s, seconds, rest_ns)
        return True

    def _is_full(self, file: ReadoutFile) -> bool:
        return self._limit_bytes is not None and file.n_bytes >= self._limit_bytes

    def _end(self, reason: str) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        file.conclude(reason)
        try:
            file.close()
        finally:
            for name, n in file.counters.items():
                self._closed[name] += n

    def close(self) -> None:
        """Finish the file that is open; may be called twice."""
        self._end("stopped")
