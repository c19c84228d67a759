"""Ways to write the chunks of a growing file, against `cp` of the same bytes, alternating.

"forget" is what files of images do: space ahead of need, windows sent to the disk, and out of the page cache
once they are there. "windows" is the same without the last step, "plain" is os.pwrite alone, "direct" is
O_DIRECT into space taken ahead, padded to 4096 bytes. Every way ends with its bytes on the disk (fsync).
CPU is that of this process and its children, the system's work for them included.
"""

import argparse
import mmap
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from forebay.store import room

PAGE = 4096
N_DISTINCT = 16


class Windows(room.WriteBack):
    """The same, forgetting nothing."""

    def _forget(self, window):
        pass


def write(path, chunks, n, n_bytes, back=None, flags=0):
    fd = os.open(path, os.O_CREAT | os.O_RDWR | flags, 0o600)
    space = room.Room(fd)
    step = -(-n_bytes // PAGE) * PAGE if flags else n_bytes
    windows = back and back(fd)
    for i in range(n):
        if windows or flags:
            space.take((i + 1) * step)
        os.pwrite(fd, chunks[i % N_DISTINCT][:step], i * step)
        if windows:
            windows.advance((i + 1) * step)
    os.ftruncate(fd, n * step)
    os.fsync(fd)
    os.close(fd)


def copy(source, path):
    subprocess.run(["cp", source, path], check=True)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def cpu():
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def measure(directory, n_bytes, total, rounds):
    n = total // n_bytes
    memory = mmap.mmap(-1, N_DISTINCT * (n_bytes + PAGE))  # at a page, as direct writes want it
    size = -(-n_bytes // PAGE) * PAGE
    chunks = [memoryview(memory)[i * size : (i + 1) * size] for i in range(N_DISTINCT)]
    for chunk in chunks:
        chunk[:] = np.random.default_rng(1).integers(0, 256, size, np.uint8).data
    source = directory / "source"
    write(source, chunks, n, n_bytes)
    ways = {
        "cp": lambda path: copy(source, path),
        "plain": lambda path: write(path, chunks, n, n_bytes),
        "windows": lambda path: write(path, chunks, n, n_bytes, back=Windows),
        "forget": lambda path: write(path, chunks, n, n_bytes, back=room.WriteBack),
        "direct": lambda path: write(path, chunks, n, n_bytes, flags=os.O_DIRECT),
    }
    seconds = {key: [] for key in ways}
    used = {key: [] for key in ways}
    for i_round in range(rounds):
        first = i_round % len(ways)
        for key in list(ways)[first:] + list(ways)[:first]:
            path = directory / key
            os.sync()
            before, begin = cpu(), time.perf_counter()
            ways[key](path)
            seconds[key].append(time.perf_counter() - begin)
            used[key].append(cpu() - before)
            path.unlink()
    print(f"\n{n} chunks of {n_bytes:,} bytes, {rounds} rounds: median (lowest .. highest)")
    for key, taken in seconds.items():
        rates = [n * n_bytes / t / 1e6 for t in taken]
        ratios = [c / t for c, t in zip(seconds["cp"], taken, strict=True)]
        print(
            f"  {key:8s}{statistics.median(rates):7,.0f} MB/s ({min(rates):,.0f} .. {max(rates):,.0f})"
            f"{statistics.median(used[key]) / n / n_bytes * 1e9:6.2f} CPU s/GB"
            f"   {statistics.median(ratios):.2f} times as fast as cp ({min(ratios):.2f} .. {max(ratios):.2f})"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the data, three rounds")
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    args = parser.parse_args()
    total, rounds = (2**27, 3) if args.quick else (2**29, 7)
    for n_bytes in (100_000, 720_000, 4_000_000):
        with tempfile.TemporaryDirectory(dir=args.directory) as name:
            measure(Path(name), n_bytes, total, rounds)


if __name__ == "__main__":
    main()
