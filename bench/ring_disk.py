"""Disk ring against plain os.write and os.pread of the same bytes, and against SQLite, alternating.

Writing counts until everything is on the disk (fdatasync, close). Reading goes through everything once,
from the page cache: ring and SQLite by pulse range, plain reads in blocks of 4 MiB that nobody checks or
takes apart. "1 by 1" reads single pulses at random places. All files lie in one temporary directory.
"""

import argparse
import os
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from forebay.pulse import PulseRange
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter

BLOCK = 4 * 2**20
N_SINGLE = 300


class Ring:
    def __init__(self, directory, n_bytes):
        self.directory = directory / "ring"
        self.limits = DiskLimits(4 * n_bytes + 2**28)

    def write(self, part, n, batch):
        writer = RecordWriter(self.directory, self.limits)
        for i in range(0, n, batch):
            writer.write([(p, p, (part,)) for p in range(i, min(i + batch, n))])
        writer.close()
        assert writer.counters.written == n

    def read(self, n, size):
        count = sum(len(r.parts[0]) == size for r in RecordReader(self.directory).read(PulseRange(0, n)))
        assert count == n

    def read_single(self, pulses, size):
        reader = RecordReader(self.directory)
        assert all(len(reader.get(p).parts[0]) == size for p in pulses)


class Plain:
    def __init__(self, directory, _n_bytes):
        self.path = directory / "plain"

    def write(self, part, n, batch):
        block = [part] * batch
        file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        for i in range(0, n, batch):
            os.write(file, b"".join(block[: n - i]) if batch > 1 else part)
        os.fdatasync(file)
        os.close(file)

    def read(self, n, size):
        file, at = os.open(self.path, os.O_RDONLY), 0
        while at < n * size:
            at += len(os.pread(file, BLOCK, at))
        os.close(file)

    def read_single(self, pulses, size):
        file = os.open(self.path, os.O_RDONLY)
        assert all(len(os.pread(file, size, p * size)) == size for p in pulses)
        os.close(file)


class Sqlite:
    def __init__(self, directory, _n_bytes):
        self.path = directory / "sqlite"

    def open(self):
        base = sqlite3.connect(self.path, isolation_level=None)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=NORMAL")
        base.execute(
            "CREATE TABLE IF NOT EXISTS record (pulse_id INTEGER PRIMARY KEY, time_ns INTEGER, part BLOB)"
        )
        return base

    def write(self, part, n, batch):
        base = self.open()
        for i in range(0, n, max(batch, 100)):
            base.execute("BEGIN")
            last = min(i + max(batch, 100), n)
            base.executemany("INSERT INTO record VALUES (?, ?, ?)", ((p, p, part) for p in range(i, last)))
            base.execute("COMMIT")
        base.close()
        file = os.open(self.path, os.O_RDONLY)
        os.fdatasync(file)
        os.close(file)

    def read(self, n, size):
        base = self.open()
        rows = base.execute("SELECT * FROM record WHERE pulse_id BETWEEN 0 AND ? ORDER BY pulse_id", (n,))
        assert sum(len(row[2]) == size for row in rows) == n
        base.close()

    def read_single(self, pulses, size):
        base = self.open()
        for p in pulses:
            (part,) = base.execute("SELECT part FROM record WHERE pulse_id = ?", (p,)).fetchone()
            assert len(part) == size
        base.close()


def timed(act, *args):
    begin = time.perf_counter()
    act(*args)
    return time.perf_counter() - begin


def report(name, size, n, seconds):
    print(f"\n{name}, records of {size} bytes: median of {len(seconds['ring'])} rounds (lowest .. highest)")
    for kind, times in seconds.items():
        rates = [n / t for t in times]
        ratios = [r / t for r, t in zip(times, seconds["ring"], strict=True)]
        print(
            f"  {kind:7s}{statistics.median(rates):12,.0f} /s ({min(rates):,.0f} .. {max(rates):,.0f})"
            f"{statistics.median(rates) * size / 1e6:10,.0f} MB/s"
            + (
                ""
                if kind == "ring"
                else f"   ring is {statistics.median(ratios):.2f} times as fast"
                f" ({min(ratios):.2f} .. {max(ratios):.2f})"
            )
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the data, three rounds")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--directory", type=Path, help="where to write; the system's temporary directory by default"
    )
    parser.add_argument("--size", type=int, help="records of this size only: 200, 10000 or 1000000 bytes")
    args = parser.parse_args()
    share, rounds = (16, 3) if args.quick else (1, args.rounds)
    for size, n, batch in ((200, 800_000, 1000), (10_000, 100_000, 100), (1_000_000, 1_600, 1)):
        if args.size not in (None, size):
            continue
        n //= share
        part = os.urandom(size)
        what = {k: {"ring": [], "plain": [], "sqlite": []} for k in ("write", "read", "1 by 1")}
        for i_round in range(rounds):
            kinds = [("ring", Ring), ("plain", Plain), ("sqlite", Sqlite)]
            i_first = i_round % len(kinds)  # the one after SQLite pays for the removal of its large files
            for kind, make in kinds[i_first:] + kinds[:i_first]:
                with tempfile.TemporaryDirectory(dir=args.directory) as name:
                    store = make(Path(name), n * size)
                    what["write"][kind].append(timed(store.write, part, n, batch))
                    what["read"][kind].append(timed(store.read, n, size))
                    pulses = random.Random(i_round).choices(range(n), k=N_SINGLE)
                    what["1 by 1"][kind].append(timed(store.read_single, pulses, size))
                os.sync()
        report(f"write ({batch} a call)", size, n, what["write"])
        report("read a range", size, n, what["read"])
        report("read 1 by 1", size, N_SINGLE, what["1 by 1"])


if __name__ == "__main__":
    main()
