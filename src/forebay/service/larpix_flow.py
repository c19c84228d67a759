"""Packet blocks of larpix-daq, and ours, as events of the house: one block of messages for each io group."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.event import Event
from forebay.wire import pacman
from forebay.wire.larpix import block, board_block
from forebay.wire.pacman_batch import PacmanArrays

ASIC_VERSION: Final = "1"
"""Blocks of larpix-daq have words of chips of this version, and of no other."""

_NO_MODULES: NDArray[np.uint32] = np.zeros(0, np.uint32)
Records = block.Records

Content = Records | PacmanArrays
"""What a packet block has: words of chips of version 1, or messages of a board."""


def content_of(payload: bytes) -> Content:
    """Return what a packet block of either kind has; `forebay.errors.WireError` if it is none."""
    return board_block.decode(payload) if board_block.is_board_block(payload) else block.decode(payload)


def asic_version_of(content: Content) -> str:
    """Return of which version the chips are."""
    return content.asic_version if isinstance(content, PacmanArrays) else ASIC_VERSION


def n_packets(content: Content) -> int:
    """Return how many packets there are: words of all kinds, and timestamps of larpix-daq's blocks."""
    return len(content.batch.words) if isinstance(content, PacmanArrays) else len(content)


def seconds_of(header: dict[str, Any]) -> int:
    """Return the unix seconds of a DATA header; now if it has none."""
    stamp = header.get("timestamp")
    is_good = isinstance(stamp, int | float) and math.isfinite(stamp) and 0 <= stamp < 2**32
    return int(stamp) if is_good and stamp is not None else int(time.time())


class Sequences:
    """Finds messages that never came, by the numbers that our producers give them.

    Attributes
    ----------
    n_missing:
        Messages of all producers that never came.
    """

    def __init__(self) -> None:
        self.n_missing = 0
        self._next: dict[str, int] = {}

    def add(self, name: str, sequence: object) -> None:
        """Take the number of a message of a producer; that of the original gives none."""
        if isinstance(sequence, int) and 0 <= sequence < 2**63:
            self.n_missing += max(sequence - self._next.get(name, sequence), 0)
            self._next[name] = sequence + 1


def messages_of_records(records: Records, seconds: int) -> dict[int, list[bytes]]:
    """Return io group -> messages that hold these words; timestamps become the times of messages."""
    found: dict[int, list[bytes]] = {}
    for group in np.unique(records["io_group"]).tolist():
        own = records[records["io_group"] == group]
        is_time = own["kind"] == block.TIMESTAMP
        times = np.minimum(block.values_of(own[is_time]), 2**32 - 1).tolist()
        cuts = np.split(own, np.flatnonzero(is_time))
        for second, part in zip([seconds, *times], cuts, strict=True):
            words = part[part["kind"] == block.WORD]
            for start in range(0, len(words) or (second != seconds), pacman.MAX_WORDS):
                some = words[start : start + pacman.MAX_WORDS]
                data = pacman.data_words(some["io_channel"], 0, block.values_of(some))
                found.setdefault(group, []).append(pacman.encode(pacman.DATA_MESSAGE, second, data))
    return found


def newest_of(content: Content, n: int) -> Content:
    """Return the last packets, `n` or a few more: messages stay whole."""
    if not isinstance(content, PacmanArrays):
        return content[-n:]
    batch = content.batch
    n_messages = int(np.searchsorted(np.cumsum(batch.counts[::-1]), n)) + 1
    lengths = batch.lengths[-n_messages:].astype(np.uint32)
    data = batch.data[len(batch.data) - int(lengths.sum()) :]
    return PacmanArrays(data.tobytes(), lengths, content.io_group, content.asic_version)


class Blocks:
    """Makes events of packet blocks; pulse ids count the blocks of each io group."""

    def __init__(self) -> None:
        self._n: dict[int, int] = {}

    def events(self, parts: Sequence[tuple[int, Content]]) -> Iterator[Event]:
        """Yield one event for each io group, and version of chips, of these (seconds, content)."""
        boards: dict[tuple[int, str], list[PacmanArrays]] = {}
        for seconds, content in parts:
            for arrays in _arrays_of(content, seconds):
                boards.setdefault((arrays.io_group, arrays.asic_version), []).append(arrays)
        for (group, _), found in boards.items():
            number = self._n.get(group, 0)
            self._n[group] = number + 1
            yield _event(_joined(found), number)


def _arrays_of(content: Content, seconds: int) -> list[PacmanArrays]:
    if isinstance(content, PacmanArrays):
        return [content]
    found = messages_of_records(content, seconds)
    return [arrays_of(messages, group, ASIC_VERSION) for group, messages in found.items()]


def _joined(found: Sequence[PacmanArrays]) -> PacmanArrays:
    first = found[0]
    if len(found) == 1:
        return first
    data = b"".join([one.data for one in found])
    lengths = np.concatenate([one.lengths for one in found])
    return PacmanArrays(data, lengths, first.io_group, first.asic_version)


def _event(arrays: PacmanArrays, number: int) -> Event:
    return Event(f"io_group_{arrays.io_group}", number, time.time_ns(), arrays, _NO_MODULES)


def arrays_of(messages: Sequence[bytes], io_group: int, asic_version: str) -> PacmanArrays:
    """Return messages of a board together."""
    lengths = np.fromiter(map(len, messages), np.uint32, len(messages))
    return PacmanArrays(b"".join(messages), lengths, io_group, asic_version)


def event_of(
    messages: Sequence[bytes], io_group: int, number: int, asic_version: str = ASIC_VERSION
) -> Event:
    """Return messages of a board as an event, block `number` of this board."""
    return _event(arrays_of(messages, io_group, asic_version), number)


def records_of(arrays: PacmanArrays) -> Records:
    """Return the words of chips in messages of a board, as records of a block."""
    words = arrays.batch.words
    is_data = words["kind"] == ord("D")
    if not is_data.all():
        words = words[is_data]
    return block.make(block.WORD, words["word"].astype(np.uint64), arrays.io_group, words["channel"])
