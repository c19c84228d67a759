"""Join the blocks of all modules to readouts by the nearest time tag, and decide when a readout is done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forebay._native import OpenReadouts
from forebay.assemble.senders import Senders
from forebay.assemble.suspects import REASONS, REFUSED, Suspect, Suspects
from forebay.wire.ssreadout import READOUT
from forebay.wire.target import BLOCK, N_MODULES

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
_MOST = 2**60 - 1


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
    gives it its time tag. Of a run, the first readout waits for the second one, for twice the window and
    10 ms at most: that shows how close readouts lie, and which blocks are of which.

    Refused are blocks of readouts that are gone (late), blocks that came before (duplicate) and blocks
    whose time tags cannot be (implausible). Where the refused blocks show that the clock of the camera
    was set anew, the builder follows: it releases everything open and starts again with those blocks.

    Blocks find their readouts in native code. Here it is decided what becomes of readouts and of refused
    blocks, which is rare. Not thread-safe, but for the counters. Times of this computer come from one clock
    of the caller that never goes back.

    Attributes
    ----------
    readouts:
        Those that are open; a port may fill it, and then `tick` gives what is done.
    """

    def __init__(self, rules: TimedRules) -> None:
        self.rules = rules
        expected = range(N_MODULES) if rules.expected is None else rules.expected
        self.readouts = OpenReadouts(
            min(rules.window_ns, _MOST),
            min(rules.buffer_ns, _MOST),
            rules.buffer_length,
            min(rules.max_jump_ns, _MOST),
            min(rules.patience, _MOST),
            sum(1 << module for module in set(expected)),
            rules.expected is not None,
        )
        self._senders = Senders(
            N_MODULES, window=rules.max_jump_ns, near=rules.window_ns, deadline_ns=rules.buffer_ns
        )
        self._suspects = Suspects(N_MODULES)
        self._number = 0
        self._done: list[NDArray[np.void]] = []
        self._released = dict.fromkeys(COUNTERS[5:], 0)

    @property
    def counters(self) -> dict[str, int]:
        """By the names of `COUNTERS`.

        After every call ``blocks = used + late + duplicate + implausible``, and, when nothing is open,
        ``readouts * 32 = used + missing_blocks``.
        """
        return {**dict(zip(COUNTERS, self.readouts.counters(), strict=False)), **self._released}

    @property
    def used_of_module(self) -> NDArray[np.int64]:
        """Blocks used, (module,)."""
        return np.array(self.readouts.modules()[0], np.int64)

    @property
    def n_open(self) -> int:
        """How many readouts wait."""
        return len(self.readouts)

    def reset_count(self) -> None:
        """Let the next readout be number 1."""
        self._number = 0

    def add(
        self, modules: NDArray[np.int64], blocks: NDArray[np.void], arrived_ns: int, now_ns: int
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
        block_bytes = np.ascontiguousarray(blocks).view(np.uint8)
        self._take_in(np.ascontiguousarray(modules, np.int64), block_bytes, arrived_ns, now_ns)
        return self._taken()

    def tick(self, now_ns: int) -> NDArray[np.void]:
        """Return the readouts that are done, also because time has passed, oldest first."""
        released = self.readouts.release(now_ns, self._number + 1)
        if released is None:
            self._look(now_ns)
            return self._taken()
        row_bytes, n_blocks, n_lacking = released
        return self._counted(row_bytes.view(READOUT), n_blocks, n_lacking)

    def drain(self) -> NDArray[np.void]:
        """Return every open readout, oldest first: at the end nothing is worth waiting for."""
        self._give(len(self.readouts))
        return self._taken()

    def _take_in(
        self, modules: NDArray[np.int64], block_bytes: NDArray[np.uint8], arrived_ns: int, now_ns: int
    ) -> None:
        for start in range(0, len(modules), _STEP):
            end = start + _STEP
            part = block_bytes[start * BLOCK.itemsize : end * BLOCK.itemsize]
            self.readouts.add(modules[start:end], part, arrived_ns, now_ns)
            self._look(now_ns)

    def _look(self, now_ns: int) -> None:
        """Decide about refused blocks and release what is done."""
        if self.readouts.has_refused:
            self._refuse(self.readouts.take_refused().view(REFUSED), now_ns)
        self._release(now_ns)

    def _refuse(self, refused: NDArray[np.void], now_ns: int) -> None:
        """Find out whether the clock of the camera went where refused blocks are."""
        self._hear()
        for i, one in enumerate(refused):
            module, time_ns = int(one["module"]), int(one["block"]["time_ns"])
            self._senders.refuse(module, time_ns)
            suspect = Suspect(time_ns, refused["block"][i : i + 1].copy(), REASONS[one["reason"]])
            self._suspects.keep(module, suspect)
        enough = min(2, self.readouts.alive.bit_count())
        if (refused["is_quiet"].any() and self._suspects.n_modules >= enough) or self._senders.moved(
            time_ns, now_ns, sure=False
        ):
            self._follow(time_ns, int(refused["arrived_ns"][-1]), now_ns)

    def _hear(self) -> None:
        """Learn where the modules are; those that went on as before are not suspected any more."""
        heard = self.readouts.take_heard()
        _, at, heard_ns = self.readouts.modules()
        modules = [module for module in range(N_MODULES) if heard >> module & 1]
        for module in modules:
            self._senders.at[module] = at[module]
            self._senders.accepted_ns[module] = heard_ns[module]
            self._senders.away[module] = 0
        self._suspects.forget(modules)

    def _follow(self, time_ns: int, arrived_ns: int, now_ns: int) -> None:
        """Go where the clock of the camera has gone, and begin with the blocks that were refused for it."""
        self._give(len(self.readouts))
        again = self._suspects.take(time_ns, self.rules.max_jump_ns)
        n_of = Counter(one.reason for _, one in again)
        self.readouts.restart(time_ns, [n_of[reason] for reason in REASONS])
        self._senders.restart()
        self._released["followed"] += 1
        modules = np.array([module for module, _ in again], np.int64)
        block_bytes = np.concatenate([one.block.view(np.uint8) for _, one in again])
        self._take_in(modules, block_bytes, arrived_ns, now_ns)

    def _release(self, now_ns: int) -> None:
        self._give(self.readouts.n_done(now_ns))
        if (n_many := len(self.readouts) - self.rules.buffer_length) > 0:
            self._released["evicted"] += n_many
            self._give(n_many)
        if overdue := self.readouts.overdue(now_ns - self.rules.buffer_ns):
            self._hear()
            strays = [i for i in overdue if self._is_stray(i)]
            due = [i - sum(s < i for s in strays) for i in overdue if i not in strays]
            self.readouts.drop(strays)
            if due:
                self._give(due[-1] + 1)
            self._give(self.readouts.n_done(now_ns))

    def _is_stray(self, i: int) -> bool:
        """Whether an overdue readout is one that the camera has not come to."""
        time_ns, opened_ns, there = self.readouts.state(i)
        if 2 * there.bit_count() > self.readouts.alive.bit_count():
            return False  # most of the camera was there; what came behind it was late
        owners = [there >> module & 1 for module in range(N_MODULES)]
        return self._senders.is_stray(time_ns, owners, opened_ns, overdue=True)

    def _give(self, n: int) -> None:
        """Release the `n` oldest readouts."""
        if not n:
            return
        readouts = np.empty(n, READOUT)
        self._done.append(
            self._counted(readouts, *self.readouts.take(self._number + 1, readouts.view(np.uint8)))
        )

    def _counted(self, readouts: NDArray[np.void], n_blocks: int, n_lacking: int) -> NDArray[np.void]:
        """Count readouts that leave; so many blocks are in them, so many of them lack an expected module."""
        n = len(readouts)
        self._number += n
        self._released["readouts"] += n
        self._released["incomplete_readouts"] += n_lacking
        self._released["missing_blocks"] += n * N_MODULES - n_blocks
        return readouts

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
