"""A camera for tests: blocks that say themselves which readout and module they are of."""

import numpy as np

from forebay.assemble.timed import TimedBuilder, TimedRules
from forebay.wire import target

T0 = 1_700_000_000_000_000_000
SECOND = 10**9


def blocks_of(times, readouts, modules):
    """Return (block,) with time tags, number of the true readout and module in the first two pixels."""
    times, readouts, modules = np.broadcast_arrays(times, readouts, modules)
    amplitudes = np.zeros((*times.shape, 64), np.uint16)
    amplitudes[..., 0], amplitudes[..., 1] = readouts % 2**16, modules
    amplitudes[..., 2] = readouts // 2**16
    times = times.astype(np.uint64)
    return target.encode(times, times + np.uint64(5), amplitudes)


def truths(readout):
    """Return the true readouts of the modules that are in a readout, and check that each is in its row."""
    there = np.flatnonzero(readout["timestamps"][:, 0])
    counts = target.counts_of(readout["data"][there, :3])
    assert (counts[:, 1] == there).all()
    assert np.isnan(np.delete(readout["data"], there, axis=0)).all()
    return counts[:, 0].astype(int) + 2**16 * counts[:, 2].astype(int)


class Bench:
    """A builder, its clock, and everything that it released."""

    def __init__(self, **rules):
        rules = {"window_ns": 10_000_000, "buffer_ns": 4 * SECOND} | rules
        self.builder = TimedBuilder(TimedRules(**rules))
        self.now_ns = 5 * SECOND
        self.out = []

    def add(self, modules, times, readouts, wait_s=0.0):
        self.now_ns += int(wait_s * SECOND)
        modules, times, readouts = np.broadcast_arrays(modules, times, readouts)
        blocks = blocks_of(times, readouts, modules).reshape(-1)
        self._take(self.builder.add(modules.reshape(-1), blocks, T0 + self.now_ns, self.now_ns))

    def tick(self, wait_s):
        self.now_ns += int(wait_s * SECOND)
        self._take(self.builder.tick(self.now_ns))

    def drain(self):
        self._take(self.builder.drain())
        return self.out

    def _take(self, readouts):
        self.out += list(readouts)
        counters = self.builder.counters
        used = ("used", "late", "duplicate", "implausible")
        assert counters["blocks"] == sum(counters[name] for name in used)
        if not self.builder.n_open:
            assert counters["readouts"] * 32 == counters["used"] + counters["missing_blocks"]

    @property
    def counters(self):
        return {name: n for name, n in self.builder.counters.items() if n}

    @property
    def sets(self):
        """Return, for each readout, the true readouts in it and how many modules it has."""
        return [
            (sorted(set(truths(one).tolist())), int((one["timestamps"][:, 0] > 0).sum())) for one in self.out
        ]


ALL = np.arange(32)
