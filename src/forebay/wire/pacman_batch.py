"""Many messages of PACMAN boards at once: counted, decoded to rows, carried by events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.event import Array, Event
from forebay.wire.larpix.row import FROM_CHIP, SYNC, TIMESTAMP, TO_CHIP, TRIGGER, Rows, fill, row_type
from forebay.wire.larpix.word import WordFormat, Words, format_of
from forebay.wire.pacman import DATA_MESSAGE, HEADER, HEADER_BYTES, REPLY, REQUEST, WORD, Frame, WordRecords

_D, _T, _S = b"DTS"


class Batch:
    """Many messages of one board, decoded together.

    Messages that are no messages are left out and counted.

    Parameters
    ----------
    data:
        The bytes of all messages, one behind the other.
    lengths:
        (message,) bytes of each.

    Attributes
    ----------
    is_good:
        (message,) of all: whether it is in order.
    data, lengths:
        (byte,) and (message,): the messages that are in order, as they came.
    kinds, seconds:
        (message,): first byte, and time of the board, unix seconds.
    counts:
        (message,): words of each.
    words:
        (word,) of `WORD`, of all messages.
    n_malformed:
        Messages left out: cut short, or of an unknown kind.
    n_miscounted:
        Messages that have another number of words than they say; the words that they have are taken.
    """

    def __init__(self, data: Frame | NDArray[np.uint8], lengths: NDArray[Any]) -> None:
        lengths = lengths.astype(np.int64)
        if int(lengths.sum()) != len(data):
            raise WireError(f"Messages of {lengths.sum()} bytes together cannot be {len(data)} bytes.")
        raw = np.frombuffer(data, np.uint8)
        starts = np.cumsum(lengths) - lengths
        good = (lengths >= HEADER_BYTES) & (lengths % WORD.itemsize == HEADER_BYTES)
        good[good] = np.isin(raw[starts[good]], (DATA_MESSAGE, REQUEST, REPLY))
        self.is_good: NDArray[np.bool_] = good
        self.n_malformed = int(np.count_nonzero(~good))
        if self.n_malformed:
            raw = raw[np.repeat(good, lengths)]
            lengths = lengths[good]
            starts = np.cumsum(lengths) - lengths
        self.data: NDArray[np.uint8] = raw
        self.lengths: NDArray[np.int64] = lengths
        self._halves = raw.view("<u8")  # every message is one header and two integers a word
        self._headers = starts // 8
        headers = self._halves[self._headers].view(HEADER)
        self.kinds: NDArray[np.uint8] = headers["kind"]
        self.seconds: NDArray[np.uint32] = headers["seconds"]
        self.counts: NDArray[np.int64] = (lengths - HEADER_BYTES) // WORD.itemsize
        self.n_miscounted = int(np.count_nonzero(headers["n_words"] != self.counts))

    @property
    def n_messages(self) -> int:
        """Messages that are in order."""
        return len(self.counts)

    @cached_property
    def words(self) -> WordRecords:
        """All words of all messages."""
        is_word = np.ones(len(self._halves), bool)
        is_word[self._headers] = False
        return self._halves[is_word].view(WORD)

    def rows(
        self,
        io_group: int | NDArray[Any],
        word_format: WordFormat,
        *,
        kind: np.dtype[Any] | None = None,
        direction: int = FROM_CHIP,
    ) -> tuple[Rows, int]:
        """Return rows, and how many words have none: a timestamp row for each message, then its words.

        Parameters
        ----------
        io_group:
            Of the board, or of each message.
        kind:
            Type of the rows; by default the narrowest.
        direction:
            Of words in data messages. Those of requests and replies always go to a chip.
        """
        n = self.n_messages + len(self.words)
        is_word = np.ones(n, bool)
        at = np.cumsum(self.counts) - self.counts + np.arange(self.n_messages)
        is_word[at] = False
        words, heads = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
        halves = self.words.view("<u8").reshape(-1, 2)
        heads[is_word] = halves[:, 0]
        words[is_word] = halves[:, 1]
        kinds = heads.view(np.uint8)[::8]
        is_data = kinds == _D
        rows = np.zeros(n, kind or row_type({word_format}))
        if int(np.count_nonzero(is_data)) != len(self.words):
            words[~is_data] = 0
        fill(rows, words, word_format)
        rows["io_group"] = io_group if np.ndim(io_group) == 0 else np.repeat(io_group, self.counts + 1)
        rows["io_channel"] = heads.view(np.uint8)[1::8]
        rows["receipt_timestamp"] = (heads >> np.uint64(16)).astype(np.uint32)
        rows["direction"] = is_data * np.uint8(direction)
        rows["packet_type"][at] = TIMESTAMP
        rows["timestamp"][at] = self.seconds
        if (self.kinds != DATA_MESSAGE).any():
            chosen = np.repeat(self.kinds != DATA_MESSAGE, self.counts + 1) & is_data
            rows["direction"][chosen] = TO_CHIP
            rows["receipt_timestamp"][chosen] = 0
        if is_data.sum() == len(self.words):
            return rows, 0
        return self._with_specials(rows, heads, is_word, kinds)

    def _with_specials(
        self, rows: Rows, heads: Words, is_word: NDArray[np.bool_], kinds: NDArray[np.uint8]
    ) -> tuple[Rows, int]:
        in_data = np.repeat(self.kinds == DATA_MESSAGE, self.counts + 1)
        for letter, packet_type in ((_S, SYNC), (_T, TRIGGER)):
            chosen = np.flatnonzero((kinds == letter) & in_data & is_word)
            head = heads[chosen]
            special = np.zeros(len(chosen), rows.dtype)
            special["io_group"] = rows["io_group"][chosen]
            special["packet_type"] = packet_type
            special["timestamp"] = head >> np.uint64(32)
            special["trigger_type"] = (head >> np.uint64(8)) & np.uint64(0xFF)
            if letter == _S:
                special["dataword"] = (head >> np.uint64(16)) & np.uint64(1)
            rows[chosen] = special
        known = (kinds == _D) | (((kinds == _S) | (kinds == _T)) & in_data) | ~is_word
        n_unknown = int(np.count_nonzero(~known))
        return (rows[known] if n_unknown else rows), n_unknown


class PacmanArrays(Mapping[str, Array]):
    """Messages of one board as the arrays of an event: the very bytes, decoded when somebody asks.

    Arrays: ``messages`` (byte,) uint8, ``lengths`` (message,) uint32, ``io_group`` () uint8 and
    ``asic_version`` () text.
    """

    def __init__(self, data: bytes, lengths: NDArray[np.uint32], io_group: int, asic_version: str) -> None:
        self.data = data
        self.lengths = lengths
        self.io_group = io_group
        self.asic_version = asic_version

    @cached_property
    def batch(self) -> Batch:
        """The messages, decoded once."""
        return Batch(self.data, self.lengths)

    @cached_property
    def word_format(self) -> WordFormat:
        """The words of this board's chips."""
        return format_of(self.asic_version)

    @property
    def nbytes(self) -> int:
        """What it costs a ring."""
        return len(self.data) + self.lengths.nbytes

    def messages(self) -> Iterator[bytes]:
        """Yield every message as it came, good or not."""
        start = 0
        for length in self.lengths.tolist():
            yield self.data[start : start + length]
            start += length

    def __getitem__(self, name: str) -> Array:
        if name == "messages":
            return np.frombuffer(self.data, np.uint8)
        if name == "lengths":
            return self.lengths
        if name == "io_group":
            return np.array(self.io_group, np.uint8)
        if name == "asic_version":
            return np.array(self.asic_version)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("messages", "lengths", "io_group", "asic_version"))

    def __len__(self) -> int:
        return 4


def messages_of(event: Event) -> PacmanArrays:
    """Return the messages of an event, which may have come by another stream of ours.

    Raises
    ------
    WireError
        If it has none.
    """
    arrays = event.arrays
    if isinstance(arrays, PacmanArrays):
        return arrays
    try:
        data, lengths = arrays["messages"], np.asarray(arrays["lengths"], np.uint32)
        io_group, asic_version = int(arrays["io_group"]), str(arrays["asic_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"Event {event.pulse_id} of {event.source} has no messages of a board.") from error
    return PacmanArrays(data.tobytes(), lengths, io_group, asic_version)


def pieces(arrays: PacmanArrays, most_bytes: int) -> Iterator[PacmanArrays]:
    """Yield the messages in the same order, at most `most_bytes` together, or one that is longer alone."""
    if len(arrays.data) <= most_bytes:
        yield arrays
        return
    ends = np.cumsum(arrays.lengths, dtype=np.int64)
    first = 0
    while first < len(ends):
        begin = int(ends[first] - arrays.lengths[first])
        last = max(first + 1, int(np.searchsorted(ends, begin + most_bytes, side="right")))
        data = arrays.data[begin : int(ends[last - 1])]
        yield PacmanArrays(data, arrays.lengths[first:last], arrays.io_group, arrays.asic_version)
        first = last
