"""What boards say beside the words of their chips: sync and trigger words by board and type."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forebay.wire.larpix.window import Window
from forebay.wire.pacman import DATA_MESSAGE
from forebay.wire.pacman_batch import Batch

KINDS: Final = ("sync", "trigger")
_LETTERS: Final = b"ST"
_N_TYPES: Final = 256

SPECIAL_RATE: Final = np.dtype(
    [("io_group", "u1"), ("kind", "U7"), ("type", "u1"), ("count", "i8"), ("rate_hz", "f8")]
)
"""`kind` is one of `KINDS`. `type` of a sync is the letter ``S`` (one a second, PPS), ``H`` or ``C``, of a
trigger the bits that rose."""


class SpecialStatistics:
    """Counts sync and trigger words in data messages; rates are means over `window_s`."""

    def __init__(self, window_s: float = 5.0) -> None:
        self._window_s = window_s
        self.clear()

    def clear(self) -> None:
        """Forget everything, as at the start of a run."""
        self._places: dict[int, int] = {}
        self._counts = np.zeros((0, len(KINDS), _N_TYPES), np.int64)
        self._window = Window(self._window_s)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(board, kind of `KINDS`, type): words since `clear`; boards in the order of their first one."""
        return self._counts

    def add(self, batch: Batch, io_group: int) -> None:
        """Count those in the messages of one board."""
        kinds = batch.words["kind"]
        chosen = np.flatnonzero(kinds != ord("D"))
        if not chosen.size:
            return
        chosen = chosen[np.repeat(batch.kinds == DATA_MESSAGE, batch.counts)[chosen]]
        place = self._places.setdefault(io_group, len(self._counts))
        if place == len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros((1, len(KINDS), _N_TYPES), np.int64)])
        for i, letter in enumerate(_LETTERS):
            types = batch.words["channel"][chosen[kinds[chosen] == letter]]
            self._counts[place, i] += np.bincount(types, minlength=_N_TYPES)

    def advance(self, now_s: float) -> None:
        """Say what time it is, about once a second, whether words come or not."""
        self._window.advance(now_s, self._counts)

    def rates(self) -> NDArray[np.void]:
        """Return `SPECIAL_RATE` of every board, kind and type that ever came."""
        place, kind, of_type = np.nonzero(self._counts)
        found = np.zeros(len(place), SPECIAL_RATE)
        groups = np.array(list(self._places), np.uint8)
        found["io_group"], found["type"] = groups[place], of_type
        found["kind"] = np.array(KINDS)[kind]
        found["count"] = self._counts[place, kind, of_type]
        found["rate_hz"] = self._window.rates(self._counts.shape)[place, kind, of_type]
        return found
