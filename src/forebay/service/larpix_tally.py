"""What the monitor has counted of LArPix data: boards exactly, chips as far as the time for it goes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.event import Event
from forebay.service.larpix_areas import Layouts
from forebay.wire.larpix.specials import SpecialStatistics
from forebay.wire.larpix.statistics import ChipStatistics
from forebay.wire.larpix.window import Window
from forebay.wire.pacman_account import COUNTERS, BoardAccount
from forebay.wire.pacman_batch import messages_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS: Final = 100
"""Seconds of which the packets are remembered."""

MESSAGES: Final = 10_000
"""Texts that are kept."""

CPU_SHARE: Final = 0.5
"""Part of one processor that counting chip by chip may take; what comes beyond is counted by board only."""


class Budget:
    """Seconds of work in each second; `is_open` while there are some left.

    Parameters
    ----------
    spent:
        Seconds of work so far, as a thread's own clock says.
    """

    def __init__(self, share: float, clock: Callable[[], float], spent: Callable[[], float]) -> None:
        self._share, self._clock, self._spent = share, clock, spent
        self._second, self._used = int(clock()), 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is time for more."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._used = second, 0.0
        return self._used < self._share

    @contextmanager
    def used(self) -> Iterator[None]:
        """Count the work of the body."""
        begin = self._spent()
        try:
            yield
        finally:
            self._used += self._spent() - begin


class Tally:
    """Counts blocks of boards. Methods may be called from several threads, all others under `lock`.

    Boards, kinds of words, parity, syncs and triggers are counted exactly. Chips are counted as long as that
    takes less than `cpu_share` of a processor; `share` says which part of the words that is.

    Attributes
    ----------
    chips, specials:
        See there; of this run.
    n_words:
        Words of chips in this run.
    n_counted:
        Those of them that were counted chip by chip.
    n_missing:
        Messages of producers, or blocks of boards, that never came to us.
    n_malformed:
        Blocks that were none; messages that were none are in the accounts.
    run:
        Number of the run, if it has one.
    layouts:
        Of pixels; none at first.
    greatest:
        Pixel -> greatest rate in this run.
    n_looks:
        Grows once a second, and with each `clear`: until then rates stay as they are.
    """

    def __init__(
        self,
        *,
        cpu_share: float = CPU_SHARE,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self.lock = threading.RLock()
        self.chips = ChipStatistics()
        self.specials = SpecialStatistics()
        self.layouts = Layouts()
        self.messages: deque[str] = deque(maxlen=MESSAGES)
        self._clock, self._wall = clock, wall
        self._budget = Budget(cpu_share, clock, spent)
        self.n_looks = 0
        self.clear(None)

    def clear(self, run: int | None) -> None:
        """Forget the run before; texts are kept."""
        with self.lock:
            self.run = run
            self.chips.clear()
            self.specials.clear()
            self.accounts: dict[int, BoardAccount] = {}
            self._boards, self._detail = Window(), Window()
            self.n_words = self.n_counted = self.n_malformed = self.n_missing = 0
            self.seconds: deque[tuple[int, int]] = deque(maxlen=SECONDS)
            self.greatest: dict[int, float] = {}
            self._second, self._n_before = int(self._clock()), 0
            self._begun: float | None = None
            self._ended: float | None = None
            self._look(self._clock())

    def begin(self) -> None:
        """Take it that data begin now, and not with the first that come: the mean rate is from here on."""
        with self.lock:
            self._begun, self._ended = self._clock(), None

    def end(self) -> None:
        """Take it that data have ended."""
        with self.lock:
            self._ended = self._clock()

    def note(self, text: str) -> None:
        """Keep a text."""
        with self.lock:
            self.messages.append(text)

    def add(self, events: Sequence[Event]) -> None:
        """Count blocks."""
        with self.lock:
            if events and self._begun is None:  # from here on, not from when the process was started
                self.begin()
                self._forget_rates()
            for event in events:
                with self._budget.used():
                    self._add(event, is_detailed=self._budget.is_open)

    def _add(self, event: Event, *, is_detailed: bool) -> None:
        arrays = messages_of(event)
        batch, group, word_format = arrays.batch, arrays.io_group, arrays.word_format
        account = self.accounts.setdefault(group, BoardAccount())
        before = account.counters["data_words"]
        account.add(batch, word_format)
        self.specials.add(batch, group)
        n_words = account.counters["data_words"] - before
        self.n_words += n_words
        if is_detailed:
            self.n_counted += n_words
            self.chips.add(batch, group, word_format)

    def advance(self) -> bool:
        """Say that time goes on, often; True once a second, whether something came or not."""
        second = int(self._clock())
        if second == self._second:
            return False
        with self.lock:
            for quiet in range(second - self._second - 1, 0, -1):  # the process had no time
                self.seconds.append((int(self._wall()) - quiet - 1, 0))
            self.seconds.append((int(self._wall()) - 1, self.n_words - self._n_before))
            self._second, self._n_before = second, self.n_words
            self._look(self._clock())
            for pixel, rate in self.pixel_rates().items():
                self.greatest[pixel] = max(rate, self.greatest.get(pixel, 0.0))
        return True

    def _forget_rates(self) -> None:
        self._boards, self._detail = Window(), Window()
        self.chips.clear()
        self.specials.clear()
        self._look(self._clock())

    def _look(self, now: float) -> None:
        self.n_looks += 1
        self.chips.advance(now)
        self.specials.advance(now)
        self._boards.advance(now, self.board_counts())
        self._detail.advance(now, np.array([self.n_words, self.n_counted]))

    def board_counts(self) -> NDArray[np.int64]:
        """Return (board, counter of `COUNTERS`) of this run."""
        rows = [[one.counters[name] for name in COUNTERS] for one in self.accounts.values()]
        return np.array(rows, np.int64).reshape(-1, len(COUNTERS))

    def board_rates(self) -> NDArray[Any]:
        """Return (board, counter of `COUNTERS`) in Hz."""
        return self._boards.rates((len(self.accounts), len(COUNTERS)))

    @property
    def share(self) -> float:
        """Part of the words of the last seconds that were counted chip by chip."""
        came, counted = self._detail.rates((2,)).tolist()
        return counted / came if came else 1.0

    def channel_rates(self) -> NDArray[np.float64]:
        """Return (chip, channel) in Hz; where only a part was counted, what it says of all."""
        share = self.share
        return self.chips.rates() / share if share else self.chips.rates()

    def pixel_rates(self, io_group: int | None = None) -> dict[int, float]:
        """Return pixel -> Hz, of one board or of all together; nothing while no layout is loaded."""
        if not self.layouts:
            return {}
        rates = self.channel_rates()
        if io_group is not None:
            rates = rates * (self.chips.chips[:, :1] == io_group)
        return self.layouts.by_pixel(self.chips.chips, rates)

    @property
    def mean_hz(self) -> float:
        """Words a second from the begin of the run until now, or until its end."""
        if self._begun is None:
            return 0.0
        end = self._clock() if self._ended is None else self._ended
        return self.n_words / max(end - self._begun, 1.0)
