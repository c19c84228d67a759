"""Messages of channels to a file that is closed and synced, beside the same values written row by row.

Row by row is how the original writes: one element of each dataset a message, grown by a thousand rows. The
limit is `os.write` with `fsync` of the very frames. All take turns in the same run; what counts is the CPU
time of a message, which other programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np

from forebay.event import Event
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_layout import LAYOUTS
from forebay.store.channel_manifest import ChannelRecording
from forebay.wire.bsread import HeaderCache, announce, decode, describe, message

ROWS = "row by row"
T0, PERIOD_NS = 1_700_000_000_000_000_000, 10_000_000


def scalars(n_channels: int, n_messages: int) -> list[Event]:
    names = [f"BENCH:CH{i:04d}" for i in range(n_channels)]
    header = announce([describe(name, 1.0) for name in names])
    values = np.random.default_rng(1).random((n_messages, n_channels))
    cache = HeaderCache()
    return [
        decode(
            [
                bytes(one)
                for one in message(header, p, T0 + p * PERIOD_NS, dict(zip(names, row, strict=True)))
            ],
            cache,
        )
        for p, row in enumerate(values)
    ]


def camera(n_messages: int) -> list[Event]:
    random = np.random.default_rng(1)
    images = [random.normal(300, 15, (1024, 1280)).astype("u2") for _ in range(4)]
    header = announce([describe("CAM:FPICTURE", images[0], "bitshuffle_lz4")])
    parts = [[bytes(one) for one in message(header, 0, T0, {"CAM:FPICTURE": image})] for image in images]
    cache = HeaderCache()
    return [decode([header.main(p, T0 + p * PERIOD_NS), *parts[p % 4][1:]], cache) for p in range(n_messages)]


def channel_file(path: Path, events: list[Event], layout: str) -> Callable[[], None]:
    def run() -> None:
        file = ChannelFile(path, ChannelRecording("bench", layout))
        for i in range(0, len(events), 10):
            file.write(events[i : i + 10])
        file.close()

    return run


def row_by_row(path: Path, events: list[Event]) -> Callable[[], None]:
    """Write three elements a channel and message, one after the other."""

    def run() -> None:
        with h5py.File(path, "w") as file:
            groups = {}
            for name, value in events[0].arrays.items():
                group = file.create_group(f"data/{name}")
                for column, shape, kind in (
                    ("data", value.shape, value.dtype),
                    ("pulse_id", (), "i8"),
                    ("is_data_present", (), "u1"),
                ):
                    group.create_dataset(
                        column, (1000, *shape), kind, maxshape=(None, *shape), chunks=(100, *shape)
                    )
                groups[name] = [group[column] for column in ("data", "pulse_id", "is_data_present")]
            for row, event in enumerate(events):
                for name, value in event.arrays.items():
                    data, pulse_id, is_present = groups[name]
                    if row == len(data):
                        for dataset in groups[name]:
                            dataset.resize(row + 1000, axis=0)
                    data[row], pulse_id[row], is_present[row] = value, event.pulse_id, 1

    return run


def frames_only(path: Path, events: list[Event]) -> Callable[[], None]:
    def run() -> None:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        for event in events:
            os.writev(fd, event.arrays.parts[:1000])
            for i in range(1000, len(event.arrays.parts), 1000):
                os.writev(fd, event.arrays.parts[i : i + 1000])
        os.fsync(fd)
        os.close(fd)

    return run


Way = tuple[Callable[[], None], int]


def compare(title: str, ways: dict[str, Way], path: Path, n_bytes: int, rounds: int) -> None:
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (run, n) in ways.items():
            path.unlink(missing_ok=True)
            start, used = time.perf_counter(), time.process_time()
            run()
            took[name].append((time.perf_counter() - start) / n)
            cpu[name].append((time.process_time() - used) / n)
    print(f"{title}, {n_bytes / 1000:.1f} kB a message")
    for name in ways:
        ms, seconds = [1000 * one for one in cpu[name]], statistics.median(took[name])
        line = f"  {name:20} {statistics.median(ms):7.3f} ms CPU a message ({min(ms):.3f} .. {max(ms):.3f})"
        line += f" {1 / seconds:8.0f} messages/s {n_bytes / seconds / 1e6:6.0f} MB/s"
        if ROWS in ways and name != ROWS:
            ratios = [a / b for a, b in zip(cpu[ROWS], cpu[name], strict=True)]
            line += (
                f" {statistics.median(ratios):6.1f} times less CPU ({min(ratios):.1f} .. {max(ratios):.1f})"
            )
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure")
    options = parser.parse_args()
    rounds = 3 if options.quick else 7
    with TemporaryDirectory(dir=options.directory) as folder:
        path = Path(folder, "a.h5")
        for n_channels, n in ((100, 3000), (1000, 1000)):
            events = scalars(n_channels, n)
            ways: dict[str, Way] = {}
            if n_channels == 100:
                ways[ROWS] = (row_by_row(path, events[:200]), 200)
            for layout in LAYOUTS:
                ways[layout] = (channel_file(path, events, layout), n)
            ways["frames, write + fsync"] = (frames_only(path, events), n)
            n_bytes = sum(map(len, events[0].arrays.parts))
            compare(f"{n_channels} scalars", ways, path, n_bytes, rounds)
        events = camera(50 if options.quick else 200)
        n, n_bytes = len(events), sum(map(len, events[0].arrays.parts))
        ways = {ROWS: (row_by_row(path, events[:50]), 50)}
        ways["bsread"] = (channel_file(path, events, "bsread"), n)
        ways["frames, write + fsync"] = (frames_only(path, events), n)
        compare("a camera of 1280 x 1024 uint16", ways, path, n_bytes, rounds)


if __name__ == "__main__":
    main()
