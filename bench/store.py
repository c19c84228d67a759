"""Images to a file that is closed and synced: GB/s of images, beside its two limits in the same run.

The limits are the encoder alone on as many threads, and `os.write` with `fsync` of the same compressed
bytes. The goal is 0.8 of the smaller one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from forebay.event import Event
from forebay.store.hdf5 import ImageFile
from forebay.store.manifest import Recording
from forebay.wire.compress import bound, compress, compress_into

N_DISTINCT = 8


def camera(shape: tuple[int, int]) -> np.ndarray:
    random = np.random.default_rng(1)
    return np.clip(random.normal(3000, 15, (N_DISTINCT, *shape)), 0, 16383).astype("u2")


def encode_only(stack: np.ndarray, n_images: int, n_threads: int) -> Callable[[], None]:
    outs = [np.full(bound(stack[0].size, 2), 0, np.uint8) for _ in range(n_threads)]
    pool = ThreadPoolExecutor(n_threads)

    def work(i_thread: int) -> None:
        for i in range(i_thread, n_images, n_threads):
            compress_into(stack[i % N_DISTINCT], outs[i_thread])

    return lambda: list(pool.map(work, range(n_threads))) and None


def write_only(path: Path, chunks: list[np.ndarray], n_images: int) -> Callable[[], None]:
    def run() -> None:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        for i in range(n_images):
            os.write(fd, chunks[i % N_DISTINCT].data)
        os.fsync(fd)
        os.close(fd)

    return run


def image_file(
    path: Path, stack: np.ndarray, n_images: int, n_threads: int, compression: str
) -> Callable[[], None]:
    missing = np.zeros(1, np.uint32)

    def run() -> None:
        recording = Recording("camera", stack.shape[1:], "uint16", compression=compression)
        file = ImageFile(path, recording, n_threads)
        for i in range(n_images):
            file.write([Event("camera", i, i, {"data": stack[i % N_DISTINCT]}, missing)])
        file.close()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure")
    options = parser.parse_args()
    total, rounds = (2**28, 3) if options.quick else (2**30, 5)
    for shape in ((512, 1024), (2048, 2048)):
        stack = camera(shape)
        chunks = [compress(image) for image in stack]
        n_images = total // stack[0].nbytes
        ratio = stack.nbytes / sum(chunk.nbytes for chunk in chunks)
        print(f"{n_images} images of {shape[0]} x {shape[1]} uint16, {ratio:.2f} times smaller")
        with TemporaryDirectory(dir=options.directory) as folder:
            path = Path(folder, "a.h5")
            ways: dict[str, Callable[[], None]] = {
                "write + fsync, compressed": write_only(path, chunks, n_images)
            }
            ways["write + fsync, as they are"] = write_only(path, list(stack.view("u1")), n_images)
            ways["file, not compressed"] = image_file(path, stack, n_images, 1, "none")
            for n_threads in (1, 2, 4):
                ways[f"encoder, {n_threads} threads"] = encode_only(stack, n_images, n_threads)
                ways[f"file, {n_threads} threads"] = image_file(
                    path, stack, n_images, n_threads, "bitshuffle-lz4"
                )
            compare(ways, path, n_images * stack[0].nbytes, rounds)


def compare(ways: dict[str, Callable[[], None]], path: Path, n_bytes: int, rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            path.unlink(missing_ok=True)
            start, used = time.perf_counter(), time.process_time()
            run()
            rates[name].append(n_bytes / (time.perf_counter() - start) / 1e9)
            cpu[name].append((time.process_time() - used) / n_bytes * 1e9)
    for name, rate in rates.items():
        line = f"  {name:28} {statistics.median(rate):5.2f} GB/s  {min(rate):5.2f} .. {max(rate):5.2f}"
        line += f"  {statistics.median(cpu[name]):5.2f} CPU s/GB"
        if name.startswith("file, ") and "threads" in name:
            encoder, disk = rates["encoder" + name[4:]], rates["write + fsync, compressed"]
            ratios = [r / min(e, d) for r, e, d in zip(rate, encoder, disk, strict=True)]
            line += f"  {statistics.median(ratios):.2f} of the smaller limit"
            line += f" ({min(ratios):.2f} .. {max(ratios):.2f})"
        print(line)


if __name__ == "__main__":
    main()
