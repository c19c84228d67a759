"""Images from a disk ring into an HDF5 file, against `cp` and `cat` of the same bytes, alternating.

The ring is in the page cache, as what was written a minute ago is. Every way ends with its bytes on the
disk (fsync); CPU is that of this process and its children. "plain" writes the ring's segments through
os.pread and os.write in blocks of 4 MiB.
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from forebay.config import BufferConfig
from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.retrieve import Retrieval, Stream
from forebay.ring.disk import DiskReader
from forebay.ring.images import decode
from forebay.service.buffer import ImageBuffer
from forebay.service.pump import pump
from forebay.store.hdf5 import ImageFile
from forebay.store.manifest import Recording, Request

N_PATTERNS = 16


def fill(directory, shape, n):
    """Write `n` images of pedestal noise and return how long that took."""
    random = np.random.default_rng(1)
    images = [random.normal(2500, 12, shape).astype("u2") for _ in range(N_PATTERNS)]
    config = BufferConfig(directory=directory, max_bytes=2**35, threads=2)
    sink = ImageBuffer(config, shape, np.dtype("u2"))
    begin = time.perf_counter()
    for p in range(n):
        sink.write(
            [Event("jf", p, 10**18 + p, {"data": images[p % N_PATTERNS]}, np.zeros(1, np.uint32), 128)]
        )
    sink.flush()
    seconds = time.perf_counter() - begin
    sink.close()
    return seconds


def retrieve(ring, target, shape, n):
    asked = PulseRange(0, n - 1)
    recording = Recording("jf", shape, "uint16", packets_per_module=128, requested=Request(pulses=str(asked)))
    source = Retrieval(Stream("jf", (DiskReader(ring, decode),)), asked)
    file = ImageFile(target, recording)
    pump(source, [file], lambda: False)
    file.conclude(source.reason)
    file.close()
    assert file.counters["written"] == n


def copy(ring, target, *_):
    names = sorted(ring.glob("*.data"))
    target.mkdir()
    subprocess.run(["cp", *names, target], check=True)
    for one in target.iterdir():
        with one.open("rb") as file:
            os.fsync(file.fileno())


def plain(ring, target, *_):
    out = os.open(target, os.O_CREAT | os.O_WRONLY, 0o600)
    for name in sorted(ring.glob("*.data")):
        with name.open("rb", buffering=0) as file:
            while block := file.read(4 * 2**20):
                os.write(out, block)
    os.fsync(out)
    os.close(out)


def cpu():
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images, three rounds")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, help="where to write; the temporary directory by default")
    args = parser.parse_args()
    rounds = 3 if args.quick else args.rounds
    for shape, n in (((512, 1024), 1000), ((2048, 2048), 120)):
        n //= 4 if args.quick else 1
        with tempfile.TemporaryDirectory(dir=args.directory) as name:
            ring = Path(name) / "ring"
            seconds = fill(ring, shape, n)
            n_bytes = sum(one.stat().st_size for one in ring.glob("*.data"))
            raw = n * shape[0] * shape[1] * 2
            print(f"\n{n} images of {shape}, {raw / 1e6:.0f} MB, {n_bytes / 1e6:.0f} MB in the ring")
            print(f"  buffered with 2 threads: {raw / seconds / 1e6:,.0f} MB/s of pixels")
            ways = {"retrieve": retrieve, "cp": copy, "plain": plain}
            times = {key: [] for key in ways}
            used = {key: [] for key in ways}
            for i_round in range(rounds):
                order = list(ways)[i_round % 3 :] + list(ways)[: i_round % 3]
                for key in order:
                    target = Path(name) / f"{key}-{i_round}"
                    os.sync()
                    before, begin = cpu(), time.perf_counter()
                    ways[key](ring, target, shape, n)
                    times[key].append(time.perf_counter() - begin)
                    used[key].append(cpu() - before)
                    subprocess.run(["rm", "-r", target], check=True)
            for key, taken in times.items():
                ratios = [t / r for t, r in zip(taken, times["retrieve"], strict=True)]
                print(
                    f"  {key:9s}{n_bytes / statistics.median(taken) / 1e6:8,.0f} MB/s"
                    f" ({n_bytes / max(taken) / 1e6:,.0f} .. {n_bytes / min(taken) / 1e6:,.0f})"
                    f"{statistics.median(used[key]) / n_bytes * 1e9:6.2f} CPU s/GB"
                    f"   retrieve is {statistics.median(ratios):.2f} times as fast"
                    f" ({min(ratios):.2f} .. {max(ratios):.2f})"
                )


if __name__ == "__main__":
    main()
