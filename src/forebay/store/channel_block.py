"""Many messages of one header, turned into a block of rows for each of its channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.event import Array
from forebay.store.channel_journal import Message, Stored
from forebay.store.channel_layout import (
    COMPANION,
    ChannelLayout,
    Column,
    Definition,
    definition_of,
)
from forebay.wire.bsread import Channel, Frame, Header, decode_times, decode_values
from forebay.wire.bsread.value import TIMESTAMP_BYTES, decode_value, is_missing
from forebay.wire.compress import compress

_MAX_RATIO = 255  # one byte of LZ4 data never stands for more


@dataclass(frozen=True, eq=False)
class Entry:
    """A channel of a header: where its frames are, and how its values are stored.

    Attributes
    ----------
    i:
        Position of its value frame among the frames of a message; its timestamp follows.
    definition:
        None if it has no value that could be stored; `reason` says why.
    companions:
        Channels from which columns are filled, with the positions of their value frames.
    """

    channel: Channel
    i: int
    definition: Definition | None
    reason: str = ""
    companions: tuple[tuple[Column, Channel, int], ...] = ()

    def due(self, pulse_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return at which pulses a value is due."""
        modulo = self.channel.modulo
        if modulo <= 1 or modulo >= 2**62 or abs(self.channel.offset) >= 2**62:
            return np.ones(len(pulse_ids), bool)
        return np.equal((pulse_ids - self.channel.offset) % modulo, 0)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is written of the messages of one header."""

    header: Header
    entries: tuple[Entry, ...]
    images: tuple[Entry, ...] = field(init=False)
    packed: tuple[Entry, ...] = field(init=False)

    def __post_init__(self) -> None:
        images = [one for one in self.entries if one.definition and one.definition.kind == "image"]
        packed = [
            one for one in self.entries if one.definition and one.channel.is_compressed and one not in images
        ]
        object.__setattr__(self, "images", tuple(images))
        object.__setattr__(self, "packed", tuple(packed))

    @property
    def n_frames(self) -> int:
        """Frames of a message, headers left out."""
        return 2 * len(self.header.channels)

    def value_bytes(self, frames: Sequence[Frame]) -> int:
        """Return the bytes that the values of a message take at most, unpacked, without those of images."""
        n = sum(map(len, frames)) - sum(len(frames[entry.i]) for entry in self.images)
        for entry in self.packed:
            channel, frame = entry.channel, frames[entry.i]
            if frame:
                n += len(frame) * _MAX_RATIO if channel.is_string else channel.n_bytes
        return n


def plan_of(header: Header, layout: ChannelLayout, wanted: frozenset[str]) -> Plan:
    """Return what is written of the messages of a header; `wanted` is empty for every channel."""
    names = header.positions
    beside = {column.name: column for column in layout.columns if column.is_companion}
    entries = []
    for name, i in names.items():
        base, _, column = name.rpartition(COMPANION)
        if column in beside and base in names:
            continue
        if wanted and name not in wanted:
            continue
        companions = tuple(
            (beside[one], header.channels[names[full]], 2 * names[full])
            for one in beside
            if (full := name + COMPANION + one) in names
        )
        channel, definition, reason = header.channels[i], None, ""
        try:
            definition = definition_of(layout, channel)
        except WireError as error:
            reason = str(error)
        entries.append(Entry(channel, 2 * i, definition, reason, companions))
    return Plan(header, tuple(entries))


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of one channel from the messages of one header.

    Attributes
    ----------
    values:
        (row, ...); None for images.
    columns:
        By name of `Column.fill` or, of companions, of the column: (row,) each.
    order:
        (row,): position of each row's message in its block.
    refused:
        Values whose bytes are wrong; `reason` is that of the first.
    missing:
        Pulse ids at which a value was due that has no row.
    """

    values: Array | None
    columns: dict[str, Array]
    order: NDArray[np.int64]
    refused: int
    reason: str
    missing: NDArray[np.int64]


def pieces_of(
    plan: Plan, messages: Sequence[Message], order: NDArray[np.int64]
) -> Iterator[tuple[Entry, Piece]]:
    """Yield the rows of every channel of messages that share the header of `plan`."""
    pulse_ids = np.array([message.pulse_id for message in messages], np.int64)
    times = np.array([message.time_ns for message in messages], np.int64)
    frames = list(zip(*(message.frames for message in messages), strict=True))
    for entry in plan.entries:
        values, stamps = frames[entry.i], frames[entry.i + 1]
        rows = _present(entry.channel, values)
        data: Array | None = None
        reason, n_came = entry.reason, len(rows)
        if entry.definition is None:
            rows = rows[:0]
        elif entry.definition.kind != "image":
            data, rows, reason = _decoded(entry.channel, values, rows)
        columns: dict[str, Array] = {
            "pulse_id": pulse_ids[rows],
            "time": _times(entry.channel, stamps, rows, times[rows]),
        }
        if entry.definition is not None and entry.definition.kind == "image":
            found: Any = [values[row] for row in rows.tolist()]
            columns["checksum"] = np.array([stored.checksum for stored in found], np.uint64)
        for column, channel, i in entry.companions:
            columns[column.name] = _companion(column, channel, frames[i], rows)
        is_lost = entry.due(pulse_ids)
        is_lost[rows] = False
        yield entry, Piece(data, columns, order[rows], n_came - len(rows), reason, pulse_ids[is_lost])


def _present(channel: Channel, values: Sequence[Any]) -> NDArray[np.int64]:
    """Return the rows that have a value."""
    if not channel.is_compressed and all(values):
        return np.arange(len(values))
    return np.array(
        [i for i, one in enumerate(values) if isinstance(one, Stored) or not is_missing(channel, one)],
        np.int64,
    )


def _decoded(
    channel: Channel, values: Sequence[Any], rows: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64], str]:
    """Return the values in these rows, the rows of those that can be decoded, and why others cannot."""
    frames: Sequence[Any] = values if len(rows) == len(values) else [values[i] for i in rows.tolist()]
    try:
        data, reason = decode_values(channel, frames), ""
    except WireError as error:
        reason = str(error)
        good = [i for i, frame in enumerate(frames) if _is_good(channel, frame)]
        data, rows = decode_values(channel, [frames[i] for i in good]), rows[good]
    if channel.is_string:
        texts = [text.rstrip("\0") for text in data[:, 0]]
        good = [i for i, text in enumerate(texts) if "\0" not in text]
        if len(good) < len(texts):
            reason = reason or f"Channel {channel.name!r}: HDF5 has no text with a NUL character in it."
        data, rows = np.array([texts[i] for i in good], object), rows[good]
    return data, rows, reason


def _is_good(channel: Channel, frame: Frame) -> bool:
    try:
        decode_value(channel, frame)
    except WireError:
        return False
    return True


def _times(
    channel: Channel, stamps: Sequence[Any], rows: NDArray[np.int64], times: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the time of each value: its own, or that of its pulse where it has none that can be."""
    frames: Sequence[Any] = stamps if len(rows) == len(stamps) else [stamps[i] for i in rows.tolist()]
    has_own = np.array(list(map(len, frames)), np.int64) == TIMESTAMP_BYTES
    own: Sequence[Any] = frames if has_own.all() else [frames[i] for i in np.flatnonzero(has_own).tolist()]
    try:
        found = decode_times(channel, own)
    except WireError:
        return times
    if has_own.all():
        return found
    times = times.copy()
    times[has_own] = found
    return times


def _companion(column: Column, channel: Channel, values: Sequence[Any], rows: NDArray[np.int64]) -> Array:
    """Return a column that comes as a channel, text or flag; where none comes, or a wrong one, its fill."""
    is_text = isinstance(column.fill, str)
    found = np.full(len(rows), column.fill, object if is_text else np.uint8)
    for i, row in enumerate(rows.tolist()):  # values that come as they change: few
        if is_missing(channel, values[row]) or not _is_good(channel, values[row]):
            continue
        value = decode_value(channel, values[row])
        if value.size == 1 and channel.is_string == is_text and "\0" not in str(value.item()):
            found[i] = value.item() if is_text else bool(value.item())
    return found


def image_chunk(channel: Channel, frame: Frame) -> NDArray[np.uint8]:
    """Return the chunk of an image: the very frame where it is one of the right size, else made of it.

    Raises
    ------
    WireError
        If the frame is no image of that channel.
    """
    if channel.codec == "bitshuffle_lz4" and len(frame) > 12:
        n_bytes = int.from_bytes(frame[:8], "big")
        block = int.from_bytes(frame[8:12], "big")
        is_block = block > 0 and block % (8 * channel.dtype.itemsize) == 0
        if n_bytes == channel.n_bytes and is_block and len(frame) * _MAX_RATIO >= n_bytes:
            return np.frombuffer(frame, np.uint8)
    return compress(decode_value(channel, frame))


def checksum_of(chunk: NDArray[np.uint8]) -> int:
    """Return the xxh3_64 of a chunk."""
    return xxhash.xxh3_64_intdigest(chunk.data)
