"""What a PACMAN board has sent, counted word by word: kinds, parity, seconds without a sync, clocks."""

from __future__ import annotations

from typing import Final

import numpy as np

from forebay.wire.larpix.word import WordFormat, has_good_parity
from forebay.wire.pacman import DATA_MESSAGE, special_timestamps
from forebay.wire.pacman_batch import Batch

CLOCK_HZ: Final = 10_000_000
"""Clock of the boards: the counter that a sync resets each second."""

_TOLERANCE: Final = CLOCK_HZ // 100

COUNTERS: Final = (
    "messages",
    "words",
    "data_words",
    "sync_words",
    "trigger_words",
    "other_words",
    "parity_errors",
    "malformed",
    "miscounted",
    "syncs",
    "sync_gaps",
    "clock_resets",
    "clock_switches",
)
"""``words`` = ``data_words`` + ``sync_words`` + ``trigger_words`` + ``other_words``.

``messages`` are those in order, ``malformed`` those that are not and were left out, ``miscounted`` those that
say another number of words than they have. ``syncs`` are sync words of type S, one a second; ``sync_gaps``
seconds between two of them in which none came; ``clock_resets`` syncs at which the counter of the board was
not at a whole second; ``clock_switches`` changes of the clock's source.
"""


class BoardAccount:
    """Counts the messages of one board; `counters` has the names of `COUNTERS`."""

    def __init__(self) -> None:
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._last_sync = -1

    def add(self, batch: Batch, word_format: WordFormat) -> None:
        """Count these messages, which follow those before."""
        counters = self.counters
        words = batch.words
        kinds = words["kind"]
        is_data = kinds == ord("D")
        n_data = int(np.count_nonzero(is_data))
        counters["messages"] += batch.n_messages
        counters["malformed"] += batch.n_malformed
        counters["miscounted"] += batch.n_miscounted
        counters["words"] += len(words)
        counters["data_words"] += n_data
        chip_words = words["word"] if n_data == len(words) else words["word"][is_data]
        counters["parity_errors"] += n_data - int(np.count_nonzero(has_good_parity(chip_words, word_format)))
        if n_data < len(words):
            self._add_specials(batch)

    def _add_specials(self, batch: Batch) -> None:
        counters = self.counters
        kinds = batch.words["kind"]
        in_data = np.repeat(batch.kinds == DATA_MESSAGE, batch.counts)
        is_sync = (kinds == ord("S")) & in_data
        n_sync = int(np.count_nonzero(is_sync))
        n_trigger = int(np.count_nonzero((kinds == ord("T")) & in_data))
        counters["sync_words"] += n_sync
        counters["trigger_words"] += n_trigger
        counters["other_words"] += int(np.count_nonzero(kinds != ord("D"))) - n_sync - n_trigger
        types = batch.words["channel"]
        counters["clock_switches"] += int(np.count_nonzero(is_sync & (types == ord("C"))))
        pps = np.flatnonzero(is_sync & (types == ord("S")))
        if not pps.size:
            return
        counters["syncs"] += len(pps)
        away = special_timestamps(batch.words[pps]).astype(np.int64) % CLOCK_HZ
        counters["clock_resets"] += int(
            np.count_nonzero((away > _TOLERANCE) & (away < CLOCK_HZ - _TOLERANCE))
        )
        seconds = np.repeat(batch.seconds, batch.counts)[pps].astype(np.int64)
        first = seconds[0] if self._last_sync < 0 else self._last_sync
        counters["sync_gaps"] += int(np.maximum(np.diff(seconds, prepend=first) - 1, 0).sum())
        self._last_sync = int(seconds[-1])
