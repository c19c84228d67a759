"""Join the blocks of all modules to readouts by the nearest time tag, and decide when a readout is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forebay.assemble.open_readouts import OpenReadouts
from forebay.assemble.senders import Senders
from forebay.assemble.spacing import Spacing
from forebay.assemble.suspects import Suspect, Suspects
from forebay.wire.ssreadout import READOUT
from forebay.wire.target import N_MODULES

COUNTERS = (
    "blocks",
    "used",
    "late",
    "duplicate",
    "implausible",
    "readouts",
    "incomplete_readouts",
    "missing_blocks",
    "evicted",
    "followed",
)
"""Of `TimedBuilder`, in the order in which tables show them."""

_STEP = 1024  # blocks that are looked at together
_REMEMBERED = 256  # time tags of a module by which a block that comes again is known
_MAX_TIME = 2**63 - 1
_NEVER = -(2**62)
"""A time before all times."""

_Times = NDArray[np.int64]


@dataclass(frozen=True)
class TimedRules:
    """When blocks belong together and how long is waited.

    Attributes
    ----------
    window_ns:
        Blocks whose time tags differ by less may be of one readout; half the distance of neighbouring
        readouts, as it is seen, limits it further.
    buffer_ns:
        Longest wait, on the clock of this computer, for the modules of a readout. As long a silence is a
        pause, after which time tags may start anywhere.
    buffer_length:
        Most readouts that wait; the oldest one is given up for another.
    max_jump_ns:
        Largest plausible step of the time tags.
    patience:
        A module whose time tags are further than so many readouts beyond one that lacks it is not waited
        for: its block is lost.
    expected:
        Modules of a complete readout; None for those that were heard within `buffer_ns`.
    """

    window_ns: int = 100_000
    buffer_ns: int = 10_000_000_000
    buffer_length: int = 1000
    max_jump_ns: int = 60_000_000_000
    patience: int = 100
    expected: tuple[int, ...] | None = None


class TimedBuilder:
    """Joins blocks by time and releases readouts in the order of their time tags.

    A readout is released when every expected module is there, or has gone far beyond it, and no older one
    is open; or when it has waited `buffer_ns`; or when too many are open. The first block of a readout
    gives it its time tag.

    Refused are blocks of readouts that are gone (late), blocks that came before (duplicate) and blocks
    whose time tags cannot be (implausible). Where the refused blocks show that the clock of the camera
    was set anew, the builder follows: it releases everything open and starts again with those blocks.

    Not thread-safe. Times of this computer come from one clock of the caller that never goes back.

    Attributes
    ----------
    counters:
        By the names of `COUNTERS`. After every call ``blocks = used + late + duplicate + implausible``,
        and, when nothing is open, ``readouts * 32 = used + missing_blocks``.
    used_of_module:
        (module,) blocks used.
    """

    def __init__(self, rules: TimedRules) -> None:
        self.rules = rules
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.used_of_module = np.zeros(N_MODULES, np.int64)
        self._open = OpenReadouts(rules.buffer_length + _STEP)
        self._spacing = Spacing(N_MODULES, rules.max_jump_ns)
        self._senders = Senders(
            N_MODULES, window=rules.max_jump_ns, near=rules.window_ns, deadline_ns=rules.buffer_ns
        )
        self._suspects = Suspects(N_MODULES)
        self._at = np.zeros(N_MODULES, np.int64)  # newest time tag of each module, of the last blocks of it
        self._seen = np.zeros((N_MODULES, _REMEMBERED), np.int64)  # time tags, a ring for each module
        self._n_seen = np.zeros(N_MODULES, np.int64)
        self._whole = np.ones(N_MODULES, bool)
        if rules.expected is not None:
            self._whole = np.isin(np.arange(N_MODULES), rules.expected)
        self._alive = self._whole
        self._heard_ns = np.full(N_MODULES, _NEVER, np.int64)
        self._accepted_ns = _NEVER
        self._grace_ends_ns = 0  # until then a module that was there before a pause is waited for
        self._newest = -1  # time tag; -1 before the first
        self._last = -1  # time tag of the newest readout released; -1 before the first of a run
        self._number = 0
        self._done: list[NDArray[np.void]] = []

    @property
    def n_open(self) -> int:
        """How many readouts wait."""
        return len(self._open)

    def reset_count(self) -> None:
        """Let the next readout be number 1."""
        self._number = 0

    def add(
        self, modules: _Times, blocks: NDArray[np.void], arrived_ns: int, now_ns: int
    ) -> NDArray[np.void]:
        """Take the blocks of a batch of datagrams and return the readouts that are done, oldest first.

        They are (readout,) of `forebay.wire.ssreadout.READOUT`.

        Parameters
        ----------
        modules:
            (block,) 0 .. 31.
        blocks:
            (block,) of `forebay.wire.target.BLOCK`, in the order of arrival.
        arrived_ns:
            When they came: ns since 1970, UTC.
        """
        self.counters["blocks"] += len(blocks)
        for start in range(0, len(blocks), _STEP):
            part = slice(start, start + _STEP)
            self._add(modules[part], blocks[part], arrived_ns, now_ns)
            self._release(now_ns)
        return self._taken()

    def tick(self, now_ns: int) -> NDArray[np.void]:
        """Return the readouts that are done because time has passed, oldest first."""
        self._release(now_ns)
        return self._taken()

    def drain(self) -> NDArray[np.void]:
        """Return every open readout, oldest first: at the end nothing is worth waiting for."""
        self._give(len(self._open))
        return self._taken()

    def _add(self, modules: _Times, blocks: NDArray[np.void], arrived_ns: int, now_ns: int) -> None:
        tags = blocks["time_ns"].astype(np.uint64)
        possible = (tags > 0) & (tags <= _MAX_TIME)
        if not possible.all():
            self.counters["implausible"] += len(blocks) - int(np.count_nonzero(possible))
            modules, blocks, tags = modules[possible], blocks[possible], tags[possible]
        if not len(blocks):
            return
        times = tags.astype(np.int64)
        is_quiet = now_ns - self._accepted_ns >= self.rules.buffer_ns
        if self._newest < 0:
            self._newest = int(times[0])
        is_far = np.abs(times - self._newest) > self.rules.max_jump_ns + self._elapsed(now_ns)
        near = ~is_far
        self._spacing.learn(times[near], modules[near])
        window = max(1, min(self.rules.window_ns, self._spacing.median_ns // 2))
        place, is_late = self._open.nearest(times, window, self._last)
        good = near & ~is_late
        if good.all():
            self._accept(modules, times, blocks, place, window, arrived_ns, now_ns)
            return
        if good.any():
            self._accept(modules[good], times[good], blocks[good], place[good], window, arrived_ns, now_ns)
        bad = ~good
        reasons = np.where(is_far[bad] & (times[bad] > self._newest), "implausible", "late")
        self._refuse(modules[bad], times[bad], blocks[bad], reasons, is_quiet, arrived_ns, now_ns)

    def _elapsed(self, now_ns: int) -> int:
        return min(max(0, now_ns - self._accepted_ns), 2**62) if self._accepted_ns > _NEVER else 0

    def _accept(
        self,
        modules: _Times,
        times: _Times,
        blocks: NDArray[np.void],
        place: _Times,
        window: int,
        arrived_ns: int,
        now_ns: int,
    ) -> None:
        """Put blocks into the readouts found for them, and into new ones."""
        rows = self._open.rows_for(times, place, window, arrived_ns, now_ns)
        keys = rows * N_MODULES + modules
        free = self._open.tags(rows, modules) == 0
        if not free.all() or len(np.unique(keys)) < len(keys):
            first = np.zeros(len(keys), bool)
            first[np.unique(keys, return_index=True)[1]] = True
            free &= first
        if free.all():
            self._place(rows, modules, times, blocks, now_ns)
            return
        if free.any():
            self._place(rows[free], modules[free], times[free], blocks[free], now_ns)
        for i in np.flatnonzero(~free):
            one = slice(i, i + 1)
            if self._was_seen(modules[one], times[one])[0]:
                self.counters["duplicate"] += 1
                continue
            # A module sends one block a readout: this one is of another, that nobody else has opened yet.
            row = self._open.open(times[one], arrived_ns, now_ns)
            self._place(row, modules[one], times[one], blocks[one], now_ns)

    def _place(
        self, rows: _Times, modules: _Times, times: _Times, blocks: NDArray[np.void], now_ns: int
    ) -> None:
        self._open.place(rows, modules, blocks)
        n_of_module = np.bincount(modules, minlength=N_MODULES)
        self.used_of_module += n_of_module
        self.counters["used"] += len(blocks)
        self._remember(modules, times, n_of_module)
        self._newest = max(self._newest, int(times.max()))
        if now_ns - self._accepted_ns >= self.rules.buffer_ns:
            self._grace_ends_ns = now_ns + self.rules.buffer_ns
        self._accepted_ns = now_ns
        heard = np.flatnonzero(n_of_module)
        self._heard_ns[heard] = now_ns
        self._at[heard] = 0
        np.maximum.at(self._at, modules, times)
        senders = self._senders
        for module in heard.tolist():
            senders.at[module] = int(self._at[module])
            senders.accepted_ns[module] = now_ns
            senders.away[module] = 0
        self._suspects.forget(heard.tolist())

    def _remember(self, modules: _Times, times: _Times, n_of_module: _Times) -> None:
        order = np.argsort(modules, kind="stable")
        sorted_modules = modules[order]
        begins = np.cumsum(n_of_module) - n_of_module
        rank = np.arange(len(modules)) - begins[sorted_modules]
        self._seen[sorted_modules, (self._n_seen[sorted_modules] + rank) % _REMEMBERED] = times[order]
        self._n_seen += n_of_module

    def _was_seen(self, modules: _Times, times: _Times) -> NDArray[np.bool_]:
        seen: NDArray[np.bool_] = (self._seen[modules] == times[:, None]).any(axis=1)
        return seen

    def _refuse(
        self,
        modules: _Times,
        times: _Times,
        blocks: NDArray[np.void],
        reasons: NDArray[np.str_],
        is_quiet: bool,
        arrived_ns: int,
        now_ns: int,
    ) -> None:
        """Count blocks, and find out whether the clock of the camera went where they are."""
        again = self._was_seen(modules, times)
        last = -1
        for i in range(len(times)):
            module, reason = int(modules[i]), "duplicate" if again[i] else str(reasons[i])
            self.counters[reason] += 1
            if again[i] and not is_quiet:
                continue
            last = int(times[i])
            self._senders.refuse(module, last)
            self._suspects.keep(module, Suspect(last, blocks[i : i + 1].copy(), reason))
        enough = min(2, int(np.count_nonzero(self._alive)))
        if last >= 0 and (
            (is_quiet and self._suspects.n_modules >= enough) or self._senders.moved(last, now_ns, sure=False)
        ):
            self._follow(last, arrived_ns, now_ns)

    def _follow(self, time_ns: int, arrived_ns: int, now_ns: int) -> None:
        """Go where the clock of the camera has gone, and begin with the blocks that were refused for it."""
        self._give(len(self._open))
        again = self._suspects.take(time_ns, self.rules.max_jump_ns)
        self._last = -1
        self._newest = time_ns
        self._senders.restart()
        self._at[:] = 0
        self._spacing = Spacing(N_MODULES, self.rules.max_jump_ns)
        self.counters["followed"] += 1
        for _, one in again:
            self.counters[one.reason] -= 1
        modules = np.array([module for module, _ in again], np.int64)
        for start in range(0, len(again), _STEP):
            part = slice(start, start + _STEP)
            blocks = np.concatenate([one.block.view(np.uint8) for _, one in again[part]])
            self._add(modules[part], blocks.view(again[0][1].block.dtype), arrived_ns, now_ns)
            self._release(now_ns)

    def _expected(self, now_ns: int) -> NDArray[np.bool_]:
        """Return the modules of a complete readout, (module,)."""
        if self.rules.expected is None and self._accepted_ns == now_ns:  # nobody dies in a pause
            heard = now_ns - self._heard_ns < self.rules.buffer_ns
            self._alive = self._alive | heard if now_ns < self._grace_ends_ns else heard
        return self._alive

    def _release(self, now_ns: int) -> None:
        awaited = self._expected(now_ns)
        patience_ns = self.rules.patience * self._spacing.median_ns
        self._give(self._open.n_done(awaited, self._at, patience_ns))
        if (n_many := len(self._open) - self.rules.buffer_length) > 0:
            self.counters["evicted"] += n_many
            self._give(n_many)
        overdue = self._open.overdue(now_ns - self.rules.buffer_ns)
        if overdue.size:
            strays = [i for i in overdue.tolist() if self._is_stray(i)]
            due = [i for i in overdue.tolist() if i not in strays]
            if strays:
                due = [i - sum(s < i for s in strays) for i in due]
                n_blocks = self._open.drop(strays)
                self.counters["used"] -= n_blocks
                self.counters["implausible"] += n_blocks
                self._newest = self._open.newest(self._last)
            if due:
                self._give(due[-1] + 1)
            self._give(self._open.n_done(awaited, self._at, patience_ns))

    def _is_stray(self, i: int) -> bool:
        """Whether an overdue readout is one that the camera has not come to."""
        time_ns, opened_ns, there = self._open.state(i)
        return self._senders.is_stray(time_ns, there, opened_ns, overdue=True)

    def _give(self, n: int) -> None:
        """Release the `n` oldest readouts."""
        if not n:
            return
        readouts, n_blocks, n_lacking = self._open.take(n, self._whole)
        readouts["number"] = np.arange(self._number + 1, self._number + n + 1)
        self._number += n
        self._last = int(readouts["time_ns"][-1])
        self._done.append(readouts)
        self.counters["readouts"] += n
        self.counters["incomplete_readouts"] += n_lacking
        self.counters["missing_blocks"] += n * N_MODULES - n_blocks

    def _taken(self) -> NDArray[np.void]:
        done, self._done = self._done, []
        if len(done) == 1:
            return done[0]
        taken = np.empty(sum(map(len, done)), READOUT)
        n = 0
        for part in done:
            taken[n : n + len(part)] = part
            n += len(part)
        return taken
