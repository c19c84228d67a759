"""What a monitor shows of LArPix data: rates of channels, ADC histograms, FIFO flags, hot channels."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.wire.larpix.row import Rows
from forebay.wire.larpix.window import Window
from forebay.wire.larpix.word import V1, WordFormat, Words, field
from forebay.wire.pacman_batch import Batch

N_CHANNELS: Final = 128
"""Channels that a chip may name: 64 have pixels (32 in version 1)."""

N_ADC: Final = 1024
"""Values of a dataword of 10 bits; chips of version 2 use the first 256."""

MOST_CHIPS: Final = 20_000
"""Chips that are counted, in the order in which they are heard: noise can name 65 536 of each board."""

FIFO_FLAGS: Final = ("local_half", "local_full", "shared_half", "shared_full")

CHANNEL_RATE: Final = np.dtype(
    [("io_group", "u1"), ("io_channel", "u1"), ("chip_id", "u1"), ("channel_id", "u1"), ("rate_hz", "f8")]
)

_NO_CHIP = -1


class ChipStatistics:
    """Counts data words chip by chip, and what came in the last seconds.

    Parameters
    ----------
    window_s:
        Rates are means over so long.
    n_recent:
        Rows of the newest packets that are kept for inspection.

    Attributes
    ----------
    chips:
        (chip, 3): io group, io channel and chip id, in the order in which the chips were first heard.
    n_left_out:
        Data words of chips beyond `MOST_CHIPS`, which are not counted.
    adc, fifo:
        (chip, `N_ADC`) and (chip, flag of `FIFO_FLAGS`): counts since `clear`.
    """

    def __init__(self, window_s: float = 5.0, n_recent: int = 100) -> None:
        self.window_s = window_s
        self._n_recent = n_recent
        self.clear()

    def clear(self) -> None:
        """Forget everything, as at the start of a run."""
        self._places: dict[int, NDArray[np.int32]] = {}
        self._n = self.n_left_out = 0
        self._chips = np.zeros((0, 3), np.uint8)
        self._channels = np.zeros((0, N_CHANNELS), np.int64)
        self._adc = np.zeros((0, N_ADC), np.int64)
        self._fifo = np.zeros((0, len(FIFO_FLAGS)), np.int64)
        self._window, self._fifo_window = Window(self.window_s), Window(self.window_s)
        self._recent: deque[Rows] = deque()

    @property
    def chips(self) -> NDArray[np.uint8]:
        """See the class."""
        return self._chips[: self._n]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(chip, channel): data words since `clear`."""
        return self._channels[: self._n]

    @property
    def adc(self) -> NDArray[np.int64]:
        """See the class."""
        return self._adc[: self._n]

    @property
    def fifo(self) -> NDArray[np.int64]:
        """See the class."""
        return self._fifo[: self._n]

    def add(self, batch: Batch, io_group: int, word_format: WordFormat) -> None:
        """Count the data words of messages of one board; words with a wrong parity count as they read."""
        records = batch.words[batch.words["kind"] == ord("D")]
        words: Words = records["word"].astype(np.uint64)
        is_data = field(words, word_format, "packet_type") == word_format.data_type
        words = words[is_data]
        if not words.size:
            return
        chip_id = field(words, word_format, "chip_id")
        index = self._indices(io_group, records["channel"][is_data], chip_id)
        if self._n == MOST_CHIPS and index.min() == _NO_CHIP:
            is_known = index != _NO_CHIP
            self.n_left_out += len(index) - int(np.count_nonzero(is_known))
            words, index = words[is_known], index[is_known]
        self._count(self._channels, index, field(words, word_format, "channel_id"))
        self._count(self._adc, index, field(words, word_format, "dataword"))
        for flag, is_set in enumerate(_flags(words, word_format)):
            np.add.at(self._fifo[:, flag], index[is_set], 1)
        self._keep(batch, io_group, word_format)

    def _count(self, table: NDArray[np.int64], index: NDArray[np.int64], value: NDArray[Any]) -> None:
        width = table.shape[1]
        np.add.at(table.reshape(-1), index * width + value, 1)

    def _indices(
        self, io_group: int, io_channel: NDArray[np.uint8], chip_id: NDArray[Any]
    ) -> NDArray[np.int64]:
        places = self._places.setdefault(io_group, np.full(2**16, _NO_CHIP, np.int32))
        key = io_channel.astype(np.int64) << 8 | chip_id
        index = places[key]
        if index.min() == _NO_CHIP:
            unknown = np.unique(key[index == _NO_CHIP])[: MOST_CHIPS - self._n]
            places[unknown] = np.arange(self._n, self._n + len(unknown))
            self._grow(np.stack([np.full_like(unknown, io_group), unknown >> 8, unknown & 255], 1))
            index = places[key]
        found: NDArray[np.int64] = index.astype(np.int64)
        return found

    def _grow(self, chips: NDArray[np.int64]) -> None:
        n = self._n + len(chips)
        if n > len(self._chips):
            for name in ("_chips", "_channels", "_adc", "_fifo"):
                old = getattr(self, name)
                new = np.zeros((max(2 * n, 64), old.shape[1]), old.dtype)
                new[: self._n] = old[: self._n]
                setattr(self, name, new)
        self._chips[self._n : n] = chips
        self._n = n

    def _keep(self, batch: Batch, io_group: int, word_format: WordFormat) -> None:
        n_words = np.cumsum(batch.counts[::-1])
        n_last = int(np.searchsorted(n_words, self._n_recent)) + 1  # messages that have so many words
        lengths = batch.lengths[-n_last:]
        newest = Batch(batch.data[len(batch.data) - int(lengths.sum()) :], lengths)
        self._recent.append(newest.rows(io_group, word_format)[0])
        while sum(map(len, self._recent)) - len(self._recent[0]) >= self._n_recent:
            self._recent.popleft()

    def recent(self) -> list[Rows]:
        """Return the rows of the newest packets, at least `n_recent` of them, oldest first."""
        return list(self._recent)

    def advance(self, now_s: float) -> None:
        """Say what time it is, about once a second, whether data come or not; rates follow."""
        self._window.advance(now_s, self.counts)
        self._fifo_window.advance(now_s, self.fifo)

    def rates(self) -> NDArray[np.float64]:
        """Return (chip, channel) in Hz, of the last seconds."""
        return self._window.rates(self.counts.shape)

    def fifo_rates(self) -> NDArray[np.float64]:
        """Return (chip, flag of `FIFO_FLAGS`) in Hz, of the last seconds."""
        return self._fifo_window.rates(self.fifo.shape)

    @property
    def rate_hz(self) -> float:
        """Data words a second of all chips; 0 when data stop."""
        return float(self.rates().sum())

    def channel_rates(self) -> NDArray[np.void]:
        """Return `CHANNEL_RATE` of every channel that ever sent something."""
        chip, channel = np.nonzero(self.counts)
        rates = np.zeros(len(chip), CHANNEL_RATE)
        for i, name in enumerate(("io_group", "io_channel", "chip_id")):
            rates[name] = self.chips[chip, i]
        rates["channel_id"] = channel
        rates["rate_hz"] = self.rates()[chip, channel]
        return rates

    def hot(self, times: float = 10.0, least_hz: float = 1.0) -> NDArray[np.void]:
        """Return the channels that send more than `times` the median of all that send, hottest first."""
        rates = self.channel_rates()
        sending = rates["rate_hz"][rates["rate_hz"] > 0]
        if not sending.size:
            return rates[:0]
        limit = max(times * float(np.median(sending)), least_hz)
        found = rates[rates["rate_hz"] > limit]
        return found[np.argsort(-found["rate_hz"], kind="stable")]


def _flags(words: Words, word_format: WordFormat) -> list[NDArray[np.bool_]]:
    if word_format is V1:
        none = np.zeros(len(words), bool)
        names = ("fifo_half", "fifo_full")
        return [*(field(words, V1, name).astype(bool) for name in names), none, none]
    local, shared = field(words, word_format, "local_fifo"), field(words, word_format, "shared_fifo")
    return [(local & 1) > 0, (local & 2) > 0, (shared & 1) > 0, (shared & 2) > 0]
