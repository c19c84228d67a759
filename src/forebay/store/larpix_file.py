"""Messages of PACMAN boards into one file that larpix-control reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from forebay.errors import StoreError, WireError
from forebay.event import Event
from forebay.store import manifest as m
from forebay.store.larpix_journal import LarpixJournal
from forebay.store.larpix_manifest import (
    FORMAT,
    VERSION,
    Board,
    BoardContent,
    LarpixManifest,
    LarpixRecording,
    check_recording,
)
from forebay.store.larpix_tree import PacketTree, RawTree, open_tree
from forebay.store.layout import CHECKSUM
from forebay.store.part import create, put_in_place, unclosed
from forebay.store.paths import explain, is_disk_full, part_of
from forebay.wire.pacman_account import BoardAccount
from forebay.wire.pacman_batch import PacmanArrays, messages_of


class Account:
    """What of each board is in a file, block by block."""

    def __init__(self) -> None:
        self.boards: dict[str, BoardAccount] = {}
        self._known: dict[str, Board] = {}
        self.blocks: dict[str, list[int]] = {}
        self.n_blocks = 0
        self.n_notes = 0
        self.last_ns = 0

    def add(self, event: Event, arrays: PacmanArrays) -> None:
        """Count a block."""
        self.add_messages(event.source, arrays)
        self.blocks.setdefault(event.source, []).append(event.pulse_id)
        self.n_blocks += 1
        self.last_ns = event.time_ns

    def add_messages(self, name: str, arrays: PacmanArrays) -> None:
        """Count messages of a board that are no block."""
        self._known.setdefault(name, Board(arrays.io_group, arrays.asic_version))
        self.boards.setdefault(name, BoardAccount()).add(arrays.batch, arrays.word_format)

    def board(self, name: str) -> Board | None:
        """Return a board of which something came."""
        return self._known.get(name)

    @property
    def words(self) -> int:
        """Words of all boards."""
        return sum(board.counters["words"] for board in self.boards.values())

    def _content(self, name: str, recording: LarpixRecording) -> BoardContent:
        board = self._known.get(name) or recording.boards.get(name, Board(0))
        account = self.boards.get(name) or BoardAccount()
        return BoardContent(board.io_group, board.asic_version, dict(account.counters))

    def manifest(
        self,
        recording: LarpixRecording,
        tree: PacketTree | RawTree,
        counters: m.Counters,
        closed_by: m.ClosedBy,
        reason: str,
        not_written: dict[str, list[int]] | None = None,
    ) -> LarpixManifest:
        """Return the manifest of a file that holds what was counted."""
        lost = not_written or {}
        names = list(dict.fromkeys([*recording.boards, *self.blocks, *lost]))
        is_whole = closed_by == "recorder" or not self.last_ns
        last = m.now() if is_whole else _iso(self.last_ns)
        return LarpixManifest(
            format=FORMAT,
            version=VERSION,
            software=m.software(),
            requested=recording.requested,
            sources={name: _blocks(self.blocks.get(name, []), lost.get(name, [])) for name in names},
            counters=m.CounterChange(recording.counters, counters, counters.since(recording.counters)),
            start_time=recording.start_time,
            end_time=last,
            compression="none",
            checksum=CHECKSUM,
            closed_by=closed_by,
            reason=reason,
            configuration=recording.configuration,
            form=recording.form,
            format_version=recording.format_version if recording.form == "packets" else "0.0",
            run=recording.run,
            subrun=recording.subrun,
            data_stream=recording.data_stream,
            boards={name: self._content(name, recording) for name in names},
            rows=tree.n,
            notes=self.n_notes,
            words_without_row=tree.words_without_row,
        )


def _blocks(got: list[int], lost: list[int]) -> m.SourceAccount:
    seen = [*got, *lost]
    expected = range(min(seen), max(seen) + 1) if seen else range(0)
    return m.account(expected, np.array(got, np.int64), not_written=lost)


def _iso(time_ns: int) -> str:
    text = datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


class LarpixFile:
    """A sink for blocks of messages; the file appears under its name at `close`, whole.

    `write` and `note` are for one thread. On their return a kill of this process does not lose what they
    were given. `close` may be called from another thread, after the last of them.

    Parameters
    ----------
    path:
        The final name; nothing may exist there.
    counters:
        Asked at `close` for the counters of everything before the file.

    Raises
    ------
    StoreError
        If the file cannot be written, before any work starts.
    forebay.errors.ConfigError
        If this kind of file cannot hold what it is to.
    """

    def __init__(
        self, path: Path, recording: LarpixRecording, counters: Callable[[], m.Counters] = m.Counters
    ) -> None:
        check_recording(recording)
        if not recording.start_time:
            recording = msgspec.structs.replace(recording, start_time=m.now())
        self.path = path
        self.recording = recording
        self.manifest: LarpixManifest | None = None
        self._given_counters = counters
        self._journal, self._tree = create(
            path, lambda part: LarpixJournal(part, recording), lambda part: open_tree(part, recording)
        )
        self._account = Account()
        self._received = self._words_received = self._bytes = 0
        self._not_written: dict[str, list[int]] = {}
        self._n_not_written = 0
        self._failure: StoreError | None = None
        self._was_raised = self._is_closed = False
        self._reason, self._failed = "stopped", ""

    @property
    def n_bytes(self) -> int:
        """Bytes of messages that were taken."""
        return self._bytes

    def write(self, events: Sequence[Event]) -> None:
        """Take these blocks, oldest first.

        Blocks that have no messages of a board, or of chips of another version than the recording says, are
        counted as not written.

        Raises
        ------
        StoreError
            If a block could not be written, or the file is closed; it and the rest are counted as not
            written.
        """
        for event in events:
            self._take(event)
        if self._failure is not None or self._is_closed:
            self._was_raised = True
            raise self._failure or StoreError(f"The file {self.path} is closed.")

    def _take(self, event: Event) -> None:
        self._received += 1
        try:
            arrays = messages_of(event)
            n_words = len(arrays.batch.words)
            self._words_received += n_words
            self._check(event, arrays)
        except WireError:
            self._leave_out(event)
            return
        if self._failure is not None or self._is_closed:
            self._leave_out(event)
            return
        try:
            self._journal.append(event, arrays)
            self._tree.append(arrays)
        except Exception as error:  # noqa: BLE001 - write and close raise it
            self._leave_out(event)
            self._failed = "disk full" if is_disk_full(error) else f"failed: {error}"
            self._failure = explain(error, f"Cannot write block {event.pulse_id} to {part_of(self.path)}")
            self._failure.__cause__ = error
            return
        self._account.add(event, arrays)
        self._bytes += len(arrays.data)

    def _check(self, event: Event, arrays: PacmanArrays) -> None:
        board = self._account.board(event.source) or self.recording.boards.get(event.source)
        if board is not None and board.asic_version != arrays.asic_version:
            raise WireError(
                f"Board {event.source} has chips of version {arrays.asic_version}, not {board.asic_version}."
            )
        if board is None and not self._tree.holds(arrays.asic_version):
            raise WireError(f"This file has no room for words of chips of version {arrays.asic_version}.")

    def _leave_out(self, event: Event) -> None:
        self._n_not_written += 1
        self._not_written.setdefault(event.source, []).append(event.pulse_id)

    def note(self, seconds: int, text: str) -> None:
        """Take a text at its place among the packets, 64 bytes of it; raw files have none.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        if self._failure is not None or self._is_closed:
            raise self._failure or StoreError(f"The file {self.path} is closed.")
        if self.recording.form == "raw":
            return
        try:
            self._journal.note((seconds, text))
            self._tree.note(seconds, text)
        except (OSError, RuntimeError) as error:
            self._failed = "disk full" if is_disk_full(error) else f"failed: {error}"
            self._failure = explain(error, f"Cannot write a note to {part_of(self.path)}")
            raise self._failure from error
        self._account.n_notes += 1

    def conclude(self, reason: str) -> None:
        """Say why the recording ends; `close` writes it down."""
        self._reason = reason

    def close(self) -> None:
        """Write all that was taken and put the file in its place; may be called twice.

        Raises
        ------
        StoreError
            If a block could not be written and `write` has not said so, or if the file could not be
            closed: the error then says how to recover it.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._tree.flush()
            counters = msgspec.structs.replace(self._given_counters(), recorder=self.counters)
            reason = self._failed or self._reason
            self.manifest = self._account.manifest(
                self.recording, self._tree, counters, "recorder", reason, self._not_written
            )
            self._tree.finish(self.manifest.to_json().decode())
            put_in_place(self.path)
        except Exception as error:
            raise unclosed(part_of(self.path), f"{self._tree.n} rows", error) from error
        finally:
            self._let_go()
        if self._failure is not None and not self._was_raised:
            raise self._failure

    def _let_go(self) -> None:
        try:
            self._tree.close()
        except (OSError, RuntimeError) as error:
            raise unclosed(part_of(self.path), f"{self._tree.n} rows", error) from error
        finally:
            self._journal.close()

    @property
    def counters(self) -> dict[str, int]:
        """Blocks and words: received = written + not written."""
        return {
            "received": self._received,
            "written": self._account.n_blocks,
            "not_written": self._n_not_written,
            "words_received": self._words_received,
            "words_written": self._account.words,
            "words_not_written": self._words_received - self._account.words,
        }
