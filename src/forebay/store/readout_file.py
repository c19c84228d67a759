"""Readouts of a camera into a file as SSDAQ's, which appears under its name when it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.event import Event
from forebay.store import manifest as m
from forebay.store import readout_layout as layout
from forebay.store.part import create, put_in_place, unclosed
from forebay.store.paths import explain, is_disk_full, journal_of, part_of
from forebay.store.readout_journal import ReadoutJournal
from forebay.store.readout_layout import ReadoutManifest, ReadoutRecording
from forebay.store.readout_tree import ReadoutTree
from forebay.wire.ssreadout import from_events

_MOST = 256  # readouts that are written together


class ReadoutFile:
    """A sink for readouts; on return of `append` and `write` a kill of this process does not lose them.

    Parameters
    ----------
    path:
        The final name; nothing may exist there.
    recording:
        What the file is to hold, and whose table it is.

    Raises
    ------
    StoreError
        If the file cannot be written, before any work starts.
    forebay.errors.ConfigError
        If there is no such table or compression.

    Attributes
    ----------
    manifest:
        Of the closed file; None before.
    """

    def __init__(self, path: Path, recording: ReadoutRecording) -> None:
        layout.check_recording(recording)
        if not recording.start_time:
            recording = msgspec.structs.replace(recording, start_time=m.now())
        self.path = path
        self.manifest: ReadoutManifest | None = None
        self._journal, self._tree = create(
            path, lambda part: ReadoutJournal(part, recording), lambda part: ReadoutTree(part, recording)
        )
        self._telescope: list[NDArray[np.void]] = []
        self._received = 0
        self._not_written: list[int] = []
        self._failure: StoreError | None = None
        self._reason = "stopped"
        self._counters = m.Counters()
        self._is_closed = False

    @property
    def n(self) -> int:
        """Readouts taken."""
        return self._tree.n

    @property
    def n_bytes(self) -> int:
        """How long the file is; up to 64 readouts are not in it yet."""
        return self._tree.n_bytes

    @property
    def counters(self) -> dict[str, int]:
        """``received`` = ``written`` + ``not_written``."""
        return {
            "received": self._received,
            "written": self._tree.n,
            "not_written": len(self._not_written),
        }

    def write(self, events: Sequence[Event]) -> None:
        """Take events that are readouts (`forebay.wire.ssreadout.to_events`), oldest first."""
        if events:
            self.append(from_events(events))

    def append(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, (readout,) of `forebay.wire.ssreadout.READOUT`, oldest first.

        Raises
        ------
        StoreError
            If they could not be written, or the file is closed; they are counted as not written.
        """
        for start in range(0, len(readouts), _MOST):
            self._append(readouts[start : start + _MOST])

    def _append(self, readouts: NDArray[np.void]) -> None:
        self._received += len(readouts)
        if self._is_closed or self._failure is not None:
            self._not_written += readouts["time_ns"].tolist()
            raise self._failure or StoreError(f"The file {self.path} is closed.")
        try:
            self._tree.make_room(len(readouts))
            self._journal.append(readouts)
        except (OSError, RuntimeError) as error:
            self._not_written += readouts["time_ns"].tolist()
            raise self._failed(error) from error
        n = self._tree.n
        try:
            self._tree.add(readouts)
        except (OSError, RuntimeError) as error:  # the journal has them, this file may not
            self._not_written += readouts["time_ns"][self._tree.n - n :].tolist()
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> StoreError:
        self._reason = "disk full" if is_disk_full(error) else f"failed: {error}"
        self._failure = explain(error, f"Cannot write to {part_of(self.path)}")
        return self._failure

    def write_telescope(self, ra: float, dec: float, time_s: float, seconds: int, rest_ns: int) -> None:
        """Take where the telescope pointed (generation B).

        Raises
        ------
        StoreError
            If it could not be written.
        """
        row = np.array([(time_s, rest_ns, seconds, dec, ra)], layout.ROW_TELESCOPE)
        try:
            self._journal.append_telescope(row)
        except OSError as error:
            raise self._failed(error) from error
        self._telescope.append(row)

    def conclude(self, reason: str, counters: m.Counters | None = None) -> None:
        """Say why the recording ends and what was counted before it; `close` writes it down."""
        if self._failure is None:
            self._reason = reason
        self._counters = counters or m.Counters()

    def close(self) -> None:
        """Write all that was taken and put the file in its place; may be called twice.

        Raises
        ------
        StoreError
            If the file could not be closed: the error then says how to recover it.
        """
        if self._is_closed:
            return
        self._is_closed = True
        telescope = None
        if self._tree.recording.generation == "B":
            telescope = np.concatenate([np.empty(0, layout.ROW_TELESCOPE), *self._telescope])
        try:
            counters = msgspec.structs.replace(self._counters, recorder=self.counters)
            self.manifest = self._tree.finish(
                counters, "recorder", self._reason, self._not_written, telescope
            )
            put_in_place(self.path)
        except Exception as error:
            raise unclosed(part_of(self.path), f"{self.n} readouts", error) from error
        finally:
            self._let_go()

    def discard(self) -> None:
        """Leave nothing of a file that is not closed yet."""
        if not self._is_closed:
            self._is_closed = True
            self._let_go()
            part = part_of(self.path)
            part.unlink()
            journal_of(part).unlink()

    def _let_go(self) -> None:
        try:
            self._tree.close()
        except (OSError, RuntimeError) as error:
            raise unclosed(part_of(self.path), f"{self.n} readouts", error) from error
        finally:
            self._journal.close()
