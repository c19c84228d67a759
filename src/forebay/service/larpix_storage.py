"""Offline storage of larpix-daq: packets of a run into one file, to the last one that was sent."""

from __future__ import annotations

import argparse
import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from forebay.errors import StoreError, WireError
from forebay.front.larpix.arguments import home_address
from forebay.service.larpix_flow import (
    Blocks,
    Content,
    Sequences,
    asic_version_of,
    content_of,
    n_packets,
    seconds_of,
)
from forebay.service.larpix_part import MOST_MESSAGES, TURN_S, Part
from forebay.store.larpix_file import LarpixFile
from forebay.store.larpix_manifest import LarpixRecording, check_recording
from forebay.store.manifest import Counters
from forebay.wire.larpix.word import format_of
from forebay.wire.xylem import BEGINNING, ENDING, Data, Info, Message

_SILENCE_S: Final = 3.0
"""A producer of which nothing comes for so long after the run's end is not waited for: it may be dead."""

Block = tuple[str, int, Content]
"""Name of a producer, unix seconds, packets."""


def file_path(directory: Path, now: datetime) -> Path:
    """Return the original's name of a file, with a number behind it where there is one of that name."""
    stem = f"datalog_{now:%Y_%m_%d_%H_%M_%S_UTC}_"
    path, n = directory / f"{stem}.h5", 1
    while path.exists() or Path(f"{path}.part").exists():
        n += 1
        path = directory / f"{stem}{n}.h5"
    return path


def recording_of(arguments: argparse.Namespace) -> LarpixRecording:
    """Return what files are to be; `forebay.errors.ConfigError` if they cannot be that.

    Where all chips are of version 1, that is what larpix-daq writes: LArPix+HDF5 1.0.
    """
    versions = tuple(arguments.asic.split(","))
    for version in versions:
        format_of(version)
    recording = LarpixRecording(
        form=arguments.form,
        format_version=arguments.format or ("1.0" if versions == ("1",) else "2.4"),
        asic_versions=versions,
    )
    check_recording(recording)
    return recording


class Storage(Part):
    """Opens a file at READY, closes it when the end of the run has come through the flow of data.

    Attributes
    ----------
    n_packets, packets_of:
        Packets of the run that were stored, in all and of each producer.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(
            "Offline storage",
            "CONSUMER",
            home_address(arguments),
            arguments.log_address,
            connections=("AGGREGATOR",),
        )
        self._directory = Path(arguments.output_dir).absolute()
        self._recording = recording_of(arguments)
        self._file: LarpixFile | None = None
        self._path: Path | None = None
        self._forget()
        self._ending_at: float | None = None

    def _forget(self) -> None:
        self._blocks = Blocks()
        self._sequences = Sequences()
        self._running: set[str] = set()
        self._boards: dict[str, dict[str, int]] = {}
        self.packets_of: dict[str, int] = {}
        self.n_packets = self.n_malformed = 0
        self._is_over = False
        self._last = time.monotonic()

    def enter(self, state: str, run: int | None) -> dict[str, Any] | None:
        """Open a file, or begin to drain."""
        if state == "STOP":
            self._ending_at = self._last = time.monotonic()
            return None
        if self._file is None:
            self.wait_for_input(lambda _message: None)  # of no run
            self._forget()
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                what = f"{self._directory} cannot be made: {error.strerror}."
                raise StoreError(what, "Give another directory: -o DIRECTORY.") from error
            self._path = file_path(self._directory, datetime.now(UTC))
            recording = msgspec.structs.replace(self._recording, run=run)
            self._file = LarpixFile(self._path, recording, lambda: Counters(receiver=self._counters()))
            self.say("storing data", file=self._path)
        self._ending_at = None
        return {"file": str(self._path)}

    def turn(self) -> None:
        """Store what has come."""
        source = self.listen()
        if source is None:
            time.sleep(TURN_S)
        else:
            parts: list[Block] = []
            notes: list[tuple[int, str]] = []
            timeout = TURN_S
            for _ in range(MOST_MESSAGES):
                message = source.read(timeout)
                if message is None:
                    break
                timeout = 0.0
                self._take_in(message, parts, notes)
            self._store(parts, notes)
            if parts or notes:
                self._last = time.monotonic()  # while the disk is slow, what comes waits: that is no silence
        if self._ending_at is not None and self._is_drained():
            self._end()

    def _take_in(self, message: Message, parts: list[Block], notes: list[tuple[int, str]]) -> None:
        self._last = time.monotonic()
        if isinstance(message, Info):
            self._sequences.add(message.component, message.more.get("sequence"))
            notes.append((int(message.timestamp), message.text))
            if message.text == BEGINNING:
                self._running.add(message.component)
            elif message.text == ENDING:
                self._running.discard(message.component)
                self._take_counters(message.more.get("boards"))
        elif isinstance(message, Data):
            name = str(message.header.get("name"))
            self._sequences.add(name, message.header.get("sequence"))
            try:
                parts.append((name, seconds_of(message.header), content_of(message.payload)))
            except WireError as error:
                self.n_malformed += 1
                self.say("malformed block", logging.WARNING, reason=error)

    def _take_counters(self, boards: object) -> None:
        try:
            self._boards |= msgspec.convert(boards or {}, dict[str, dict[str, int]])
        except msgspec.ValidationError as error:
            self.say("counters that are none", logging.WARNING, reason=error)

    def _counters(self) -> dict[str, dict[str, int]]:
        """Return what boards counted, and what of the flow of data never came."""
        flow = {name: {"no_end": 1} for name in self._running} if self._is_over else {}
        if self._sequences.n_missing:
            flow["flow of data"] = {"messages_missing": self._sequences.n_missing}
        return {**self._boards, **flow}

    def _check(self, parts: list[Block]) -> None:
        for version in {asic_version_of(content) for _, _, content in parts}:
            if version not in self._recording.asic_versions:
                raise StoreError(
                    f"Chips of version {version} send, and the file is for {self._recording.asic_versions}.",
                    f"Start the storage with --asic {','.join([*self._recording.asic_versions, version])}.",
                )

    def _store(self, parts: list[Block], notes: list[tuple[int, str]]) -> None:
        if self._file is None:
            return
        try:
            self._check(parts)
            self._file.write(list(self._blocks.events([part[1:] for part in parts])))
            for name, _, content in parts:
                n = n_packets(content)
                self.n_packets += n
                self.packets_of[name] = self.packets_of.get(name, 0) + n
            for second, text in notes:
                self._file.note(max(second, 0), text)
        except StoreError as error:
            self.say("cannot store", logging.ERROR, reason=error)
            self.n_packets = self._file.counters["words_written"]
            account = self._close(str(error))
            self.component.fail(str(error), account)

    def _is_drained(self) -> bool:
        return not self._running or time.monotonic() - self._last > _SILENCE_S

    def _end(self) -> None:
        self._ending_at = None
        reason = "stopped"
        if self._running:
            names = ", ".join(sorted(self._running))
            self.say("no end of run came", logging.WARNING, of=names)
            reason = f"no end of the run came from {names}"
        try:
            self.component.confirm(self._close(reason, is_due=True))
        except StoreError as error:
            self.say("cannot close", logging.ERROR, reason=error)
            self.component.fail(str(error))

    def _close(self, reason: str, *, is_due: bool = False) -> dict[str, Any]:
        file, self._file = self._file, None
        self._is_over = is_due
        account: dict[str, Any] = {
            "file": str(self._path or ""),
            "packets_stored": self.n_packets,
            "packets_of": dict(self.packets_of),
            "messages_missing": self._sequences.n_missing,
            "messages_malformed": self.n_malformed,
            "no_end_of": sorted(self._running),
        }
        if file is None:
            return account if self._path is not None else {}
        file.conclude(reason)
        try:
            file.close()
        except StoreError as error:
            if is_due:
                raise
            self.say("cannot close", logging.ERROR, reason=error)
        self.say("stored", **account)
        return account

    def close(self) -> None:
        """Store what was taken, and leave."""
        self._close("the storage was stopped")
        super().close()


def run_storage(arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Be the storage until `stop`."""
    Storage(arguments).run(stop)
