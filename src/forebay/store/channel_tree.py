"""A file of channels that is being filled: messages in, blocks of rows out, groups as its layout has them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter of images
import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.event import Array
from forebay.pulse import MAX_PULSE_ID
from forebay.store import manifest as m
from forebay.store.channel_account import Tally, build_manifest
from forebay.store.channel_block import Entry, Piece, Plan, checksum_of, image_chunk, pieces_of, plan_of
from forebay.store.channel_journal import Message, Stored
from forebay.store.channel_layout import Definition, group_name, layout_of
from forebay.store.channel_manifest import FORMAT, VERSION, ChannelManifest, ChannelRecording
from forebay.store.channel_rows import ChannelRows, room_bytes, row_bytes
from forebay.store.chunks import Chunks
from forebay.store.layout import FORMAT_ATTRIBUTE
from forebay.store.room import Room
from forebay.wire.bsread import Frame, Header
from forebay.wire.bsread.value import is_missing

LAYOUT_ATTRIBUTE = "forebay_layout"
MANIFEST = "/general/manifest"

_BLOCK_MESSAGES = 512
_BLOCK_BYTES = 16 * 2**20
_PLANS = 64
_CLOSING_BYTES = 4 * 2**20  # groups, and a long manifest
_CHUNK_BYTES = 256  # of HDF5's index, an image; it takes about a hundred
_NO_IDS = np.empty(0, np.int64)


class ChannelTree:
    """Fills one file from one thread; HDF5's and the system's errors (OSError, RuntimeError) pass through.

    A message is put in with `accept`, which stores its images, and `add`, after which it belongs to the file.

    Parameters
    ----------
    path:
        Must not exist.
    """

    def __init__(self, path: Path, recording: ChannelRecording) -> None:
        self.path = path
        self.recording = recording
        self.layout = layout_of(recording.layout)
        with TemporaryFile(dir=path.parent) as probe:
            Room(probe.fileno()).take(_CLOSING_BYTES)
        # HDF5 1.10 and later read this
        self._file = h5py.File(path, "x", libver=("earliest", "v110"))
        self._room = Room(self._file.id.get_vfd_handle())
        self._chunks = Chunks(self._file)
        self._file_bytes = 0  # when the last block was written
        self._standing = _CLOSING_BYTES  # may be needed at any time: to close, and what HDF5 still keeps
        self._since = 0  # taken for what came since the last block
        self._file.attrs.update(
            {
                FORMAT_ATTRIBUTE: f"{FORMAT} {VERSION}",
                LAYOUT_ATTRIBUTE: self.layout.name,
                "creator": m.software(),
                "file_create_datetime": m.now(),
            }
        )
        self._root = self._file.require_group(f"/{self.layout.root}")
        self._wanted = frozenset(recording.channels)
        self._plans: OrderedDict[tuple[bytes, str | None], Plan] = OrderedDict()
        self._tallies = {name: Tally(_NO_IDS) for name in recording.channels}
        self._rows: dict[tuple[str, Definition], ChannelRows] = {}
        self._roomy: set[tuple[str, Definition]] = set()
        self._taken: set[str] = set()
        self._pending: list[Message] = []
        self._pending_bytes = 0
        self._ids: list[NDArray[np.int64]] = []
        self._failure: Exception | None = None
        self.n = 0
        """Messages that belong to the file."""
        self.last_time_ns = 0

    def accept(self, header: Header, pulse_id: int, time_ns: int, frames: Sequence[Frame]) -> Message:
        """Take the space that a message needs and store its images; returns what to `add`.

        Parameters
        ----------
        frames:
            Value and timestamp of each channel; the last ones may be left out.
        """
        plan = self._plan(header)
        if len(frames) != plan.n_frames:
            frames = [*frames[: plan.n_frames], *[b""] * (plan.n_frames - len(frames))]
        n_bytes = plan.value_bytes(frames)
        self._reserve(n_bytes + n_bytes // 64 + len(plan.entries) * row_bytes(len(self.layout.columns)))
        if not plan.images:
            return Message(header, pulse_id, time_ns, frames, n_bytes=n_bytes)
        stored: list[Frame | Stored] = list(frames)
        for entry in plan.images:
            frame = frames[entry.i]
            if not is_missing(entry.channel, frame):
                stored[entry.i] = self._store(entry, frame)
        return Message(header, pulse_id, time_ns, stored, True, n_bytes)

    def _store(self, entry: Entry, frame: Frame) -> Stored | bytes:
        try:
            chunk = image_chunk(entry.channel, frame)
        except WireError as error:
            self._tally(entry).refuse(1, str(error))
            return b""
        return self.store(entry, chunk, checksum_of(chunk))

    def store(self, entry: Entry, chunk: NDArray[np.uint8], checksum: int) -> Stored:
        """Store the chunk of an image."""
        self._reserve(chunk.nbytes + _CHUNK_BYTES)
        return Stored(self._rows_of(entry).store(self._chunks, chunk), chunk.nbytes, checksum)

    def restore(self, message: Message, chunks: dict[int, NDArray[np.uint8] | None]) -> None:
        """Add a message whose images are copied: position of the frame -> its chunk, None if damaged."""
        plan = self._plan(message.header)
        frames = [b"" if isinstance(frame, Stored) else frame for frame in message.frames]
        n_bytes = plan.value_bytes(frames)
        self._reserve(n_bytes + n_bytes // 64 + len(plan.entries) * row_bytes(len(self.layout.columns)))
        stored: list[Frame | Stored] = list(frames)
        for entry in plan.images:
            chunk = chunks.get(entry.i)
            if chunk is not None:
                stored[entry.i] = self.store(entry, chunk, checksum_of(chunk))
            elif entry.i in chunks:
                self._tally(entry).refuse(1, f"Channel {entry.channel.name!r}: a stored image was damaged.")
        self.add(Message(message.header, message.pulse_id, message.time_ns, stored, True, n_bytes))

    def add(self, message: Message) -> None:
        """Make a message that was accepted part of the file."""
        self._pending.append(message)
        self._pending_bytes += message.n_bytes
        self.n += 1
        self.last_time_ns = message.time_ns
        if len(self._pending) >= _BLOCK_MESSAGES or self._pending_bytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows of all messages that wait for it; if that fails once, it fails ever after."""
        if self._failure is not None:
            raise self._failure
        messages, self._pending, self._pending_bytes = self._pending, [], 0
        if not messages:
            return
        try:
            self._write(messages)
        except Exception as error:
            self._failure = error
            raise
        self._ids.append(np.array([message.pulse_id for message in messages], np.int64))
        self._file_bytes, self._since = self._file.id.get_filesize(), 0

    def _write(self, messages: list[Message]) -> None:
        groups: dict[int, tuple[Plan, list[int]]] = {}
        for i, message in enumerate(messages):
            plan = self._plan(message.header)
            groups.setdefault(id(plan), (plan, []))[1].append(i)
        for plan, members in groups.values():
            first_pulse = min(messages[i].pulse_id for i in members)
            for entry in plan.entries:
                tally = self._tally(entry)
                tally.first_pulse = min(tally.first_pulse, first_pulse)
        found: dict[ChannelRows, list[Piece]] = {}
        for plan, members in groups.values():
            order = np.array(members, np.int64)
            self._miss(plan, np.array([messages[i].pulse_id for i in members], np.int64))
            for entry, piece in pieces_of(plan, [messages[i] for i in members], order):
                tally = self._tally(entry)
                tally.refuse(piece.refused, piece.reason)
                if not self.layout.is_event_driven:
                    tally.missing.append(piece.missing)
                if len(piece.order):
                    found.setdefault(self._rows_of(entry), []).append(piece)
        for rows, pieces in found.items():
            self._append(rows, pieces)

    def _miss(self, plan: Plan, pulse_ids: NDArray[np.int64]) -> None:
        """Note that channels which these messages do not announce have no value in them."""
        if self.layout.is_event_driven:
            return
        announced = {entry.channel.name for entry in plan.entries}
        for name in self._tallies.keys() - announced:
            self._tallies[name].missing.append(pulse_ids)

    def _append(self, rows: ChannelRows, pieces: list[Piece]) -> None:
        columns = {
            column.name: _joined([_column(column.name, column.fill, piece) for piece in pieces])
            for column in rows.columns
        }
        for column in rows.columns:
            if column.time_unit_ns > 1:
                columns[column.name] = columns[column.name] // column.time_unit_ns
        values = None
        if rows.definition.kind != "image":
            values = _joined([np.asarray(piece.values) for piece in pieces])
        if len(pieces) > 1:
            order = np.argsort(np.concatenate([piece.order for piece in pieces]), kind="stable")
            columns = {name: column[order] for name, column in columns.items()}
            values = None if values is None else values[order]
        rows.append(values, columns)

    def _plan(self, header: Header) -> Plan:
        key = (header.frame, header.compression)
        plan = self._plans.get(key)
        if plan is None:
            plan = plan_of(header, self.layout, self._wanted)
            for entry in plan.entries:
                if entry.definition is not None:
                    self._make_room(entry.channel.name, entry.definition)
            self._plans[key] = plan
            known = {message.header.frame for message in self._pending}
            if len(self._plans) > _PLANS and next(iter(self._plans))[0] not in known:
                self._plans.popitem(last=False)
        return plan

    def _tally(self, entry: Entry) -> Tally:
        tally = self._tallies.get(entry.channel.name)
        if tally is None:
            ids = _NO_IDS if self.layout.is_event_driven or not self._ids else np.concatenate(self._ids)
            tally = self._tallies[entry.channel.name] = Tally(ids[entry.due(ids)], MAX_PULSE_ID)
        return tally

    def _rows_of(self, entry: Entry) -> ChannelRows:
        assert entry.definition is not None  # others have no rows
        return self._rows_for(entry.channel.name, entry.definition, self._tally(entry))

    def _rows_for(self, name: str, definition: Definition, tally: Tally) -> ChannelRows:
        rows = self._rows.get((name, definition))
        if rows is None:
            group = self._free_name(group_name(name))
            rows = self._rows[name, definition] = ChannelRows(self._root, group, self.layout, definition)
            tally.rows.append(rows)
        return rows

    def _make_room(self, name: str, definition: Definition) -> None:
        """Take the space for a group before it is needed, so that a full disk is met between messages."""
        if (name, definition) not in self._roomy:
            n_bytes = room_bytes(self.layout, definition)
            self._reserve(n_bytes)
            self._since -= n_bytes
            self._standing += n_bytes
            self._roomy.add((name, definition))

    def announce(self, name: str) -> None:
        """Say that there is a channel, though it may never have a value."""
        self._tallies.setdefault(name, Tally(_NO_IDS))

    def append(self, name: str, definition: Definition, values: Array, columns: Mapping[str, Array]) -> None:
        """Append rows of one channel that came as columns; see `ChannelRows.append`."""
        self.announce(name)
        n_bytes = sum(map(len, values)) * 4 if values.dtype == object else values.nbytes
        self._reserve(n_bytes + len(values) * row_bytes(len(self.layout.columns)))
        self._make_room(name, definition)
        self._rows_for(name, definition, self._tallies[name]).append(values, columns)
        self._ids.append(np.asarray(columns["pulse_id"], np.int64))

    def _free_name(self, wanted: str) -> str:
        name, n = wanted, 0
        while name in self._taken:
            n += 1
            name = f"{wanted}({n})"
        self._taken.add(name)
        return name

    def _reserve(self, n_bytes: int) -> None:
        self._room.take(self._file_bytes + self._standing + self._since + n_bytes)
        self._since += n_bytes

    def cut(self, last_pulse: int) -> None:
        """Leave out the messages behind a pulse as if they had not come; `finish` must follow.

        Counts of values that were refused stay as they are.
        """
        self._pending = [one for one in self._pending if one.pulse_id <= last_pulse]
        self.flush()
        self._ids = [ids[ids <= last_pulse] for ids in self._ids]
        self.n = sum(map(len, self._ids))
        for name, tally in [*self._tallies.items()]:
            for rows in tally.cut(last_pulse):
                group = rows.path.rpartition("/")[2]
                del self._root[group]
                self._taken.discard(group)
                self._rows.pop((name, rows.definition))
            if tally.first_pulse > last_pulse:
                del self._tallies[name]

    def finish(
        self,
        counters: m.Counters,
        closed_by: m.ClosedBy,
        reason: str,
        seen: tuple[int, int] | None = None,
        not_written: Sequence[int] = (),
    ) -> ChannelManifest:
        """Write everything else, close the file and return its manifest; see `build_manifest`."""
        self._chunks.check()
        self.flush()
        for rows in self._rows.values():
            rows.trim()
        ids = np.concatenate([_NO_IDS, *self._ids])
        end = m.now() if closed_by == "recorder" or not self.n else _iso(self.last_time_ns)
        manifest = build_manifest(
            self.recording, self._tallies, ids, counters, closed_by, reason, end, seen, not_written
        )
        text = manifest.to_json().decode()
        self._reserve(2 * len(text) + len(self._tallies) * 8192)
        self._empty_groups()
        general = self._file.require_group("/general")
        given = {"created": self.recording.start_time[:10]} | self.recording.general
        for key in (*self.layout.general, *given):
            name = group_name(key) if key != "manifest" else "%6Danifest"
            if name not in general and (self.layout.general or key in self.recording.general):
                general[name] = _text(given.get(key, "not given"))
        general["manifest"] = text
        self.close()
        os.truncate(self.path, self.path.stat().st_size)  # gives back what was taken and not needed
        return manifest

    def _empty_groups(self) -> None:
        for name, tally in self._tallies.items():
            if self.layout.empty_groups == "all":
                self._file.create_group(f"/{_free(self._file, group_name(name))}")
            elif self.layout.empty_groups == "absent" and not tally.rows:
                self._root.create_group(self._free_name(group_name(name)))

    def close(self) -> None:
        """Close the file as it is; may be called twice."""
        self._file.close()


def _iso(time_ns: int) -> str:
    return (
        datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def _column(name: str, fill: str | int, piece: Piece) -> Array:
    if name in piece.columns:
        return piece.columns[name]
    if isinstance(fill, str) and fill in piece.columns:
        return piece.columns[fill]
    return np.full(len(piece.order), fill, object if isinstance(fill, str) else np.int64)


def _joined(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _free(file: h5py.File, name: str) -> str:
    while name in file:
        name += "(1)"
    return name


def _text(text: str) -> Any:
    """Return fixed-length text as the original writes it where ASCII will do."""
    return (
        np.bytes_(text.encode()) if text and text.isascii() and "\0" not in text else text.replace("\0", "")
    )
