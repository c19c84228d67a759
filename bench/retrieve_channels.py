"""10 s of a bsread stream with 1000 scalar channels, from the disk ring into a closed file of channels.

What counts is how much less time it takes than the stream took. The same events out of memory into the
same file, and `cp` of the ring, take turns with it.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from forebay.pulse import PulseRange
from forebay.retrieve import Retrieval, Stream
from forebay.ring.disk import DiskReader, DiskRing
from forebay.ring.disk_limits import DiskLimits
from forebay.service.pump import pump
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelRecording
from forebay.wire.bsread import HeaderCache, announce, decode, describe, encode, message

RATE_HZ, SECONDS, N_CHANNELS = 100, 10, 1000
T0 = 1_700_000_000_000_000_000


def events(n):
    names = [f"BENCH:CH{i:04d}" for i in range(N_CHANNELS)]
    header = announce([describe(name, 1.0) for name in names])
    values = np.random.default_rng(1).random((n, N_CHANNELS))
    cache = HeaderCache()
    for p, row in enumerate(values):
        frames = message(header, p, T0 + p * 10**9 // RATE_HZ, dict(zip(names, row, strict=True)))
        yield decode([bytes(one) for one in frames], cache)


class Given:
    """Events out of memory, as a source."""

    def __init__(self, given):
        self.left = list(given)

    def read(self, timeout):
        taken, self.left = self.left[:64], self.left[64:]
        return taken or None


def to_file(path, source, n):
    file = ChannelFile(path, ChannelRecording("bench", "bsread"))
    pump(source, [file], lambda: False)
    file.conclude("last pulse")
    file.close()
    assert file.counters["written"] == n


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    n = RATE_HZ * SECONDS
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        made = list(events(n))
        ring = DiskRing(directory / "ring", encode, decode, DiskLimits(2**32))
        for i in range(0, n, 10):
            ring.write(made[i : i + 10])
        ring.close()

        def retrieve(target):
            cache = HeaderCache()
            past = DiskReader(directory / "ring", lambda record: decode(record.parts, cache))
            to_file(target, Retrieval(Stream("bench", (past,)), PulseRange(0, n - 1)), n)

        def memory(target):
            to_file(target, Given(made), n)

        def copy(target):
            target.mkdir()
            subprocess.run(["cp", *(directory / "ring").glob("*.data"), target], check=True)

        ways = {"retrieve": retrieve, "memory": memory, "cp": copy}
        times = {key: [] for key in ways}
        for i_round in range(3 if args.quick else args.rounds):
            for key in list(ways)[i_round % 3 :] + list(ways)[: i_round % 3]:
                os.sync()
                begin = time.perf_counter()
                ways[key](directory / f"{key}-{i_round}")
                times[key].append(time.perf_counter() - begin)
        print(f"{SECONDS} s of {N_CHANNELS} float64 scalars at {RATE_HZ} Hz")
        for key, taken in times.items():
            print(
                f"  {key:9s}{statistics.median(taken):7.3f} s ({min(taken):.3f} .. {max(taken):.3f}):"
                f" {SECONDS / statistics.median(taken):6.1f} times less than the stream took"
                f" ({SECONDS / max(taken):.1f} .. {SECONDS / min(taken):.1f})"
            )


if __name__ == "__main__":
    main()
