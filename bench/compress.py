"""Bitshuffle-LZ4: GB/s of input by data, block size and threads, beside memcpy and HDF5's own filter.

Every figure is from this run, the ways alternating; the ratio is to memcpy on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import h5py
import hdf5plugin
import numpy as np

from forebay.wire.compress import BLOCK_ELEMENTS, bound, compress, compress_into, decompress

SHAPE = (1024, 1024)


def images() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "pedestal": np.clip(random.normal(3000, 15, SHAPE), 0, 16383).astype("u2"),
        "poisson 0.1": random.poisson(0.1, SHAPE).astype("u2"),
        "poisson 10": random.poisson(10, SHAPE).astype("u2"),
    }


def threaded(stack: np.ndarray, n_threads: int, block: int) -> Callable[[], None]:
    image = stack[0]
    outs = [np.full(bound(image.size, image.itemsize, block), 0, np.uint8) for _ in range(n_threads)]
    pool = ThreadPoolExecutor(n_threads)

    def run() -> None:
        def work(i_thread: int) -> None:
            for one in stack[i_thread::n_threads]:
                compress_into(one, outs[i_thread], block)

        list(pool.map(work, range(n_threads)))

    return run


def filtered(stack: np.ndarray) -> Callable[[], None]:
    def run() -> None:
        with h5py.File("memory", "w", driver="core", backing_store=False, block_size=2**26) as file:
            data = file.create_dataset(
                "x",
                stack.shape,
                stack.dtype,
                chunks=(1, *SHAPE),
                **hdf5plugin.Bitshuffle(BLOCK_ELEMENTS, "lz4"),
            )
            for i, image in enumerate(stack):
                data[i] = image

    return run


def repeated(function: Callable[[np.ndarray], object], stack: np.ndarray) -> Callable[[], None]:
    def run() -> None:
        for image in stack:
            function(image)

    return run


def compare(ways: dict[str, Callable[[], object]], n_bytes: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    reference = statistics.median(seconds["memcpy"])
    for name, times in seconds.items():
        rate = [n_bytes / t / 1e9 for t in times]
        print(
            f"  {name:34} {statistics.median(rate):6.2f} GB/s  {min(rate):5.2f} .. {max(rate):5.2f}"
            f"  {reference / statistics.median(times):5.2f} of memcpy"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    quick = parser.parse_args().quick
    n, rounds = (16, 3) if quick else (64, 9)
    for name, image in images().items():
        chunk = compress(image)
        print(f"{name}: {image.nbytes / chunk.nbytes:.2f} times smaller")
        stack = np.repeat(image[None], n, axis=0)  # more than the caches hold
        copy = np.zeros_like(stack)
        ways: dict[str, Callable[[], object]] = {"memcpy": partial(np.copyto, copy, stack)}
        for block in (4096, 8192, BLOCK_ELEMENTS) if quick else (2048, 4096, 8192, 16384, 32768, 65536):
            ways[f"compress, block {block}"] = threaded(stack, 1, block)
        for n_threads in (2, 4):
            ways[f"compress, {n_threads} threads"] = threaded(stack, n_threads, BLOCK_ELEMENTS)
        ways["compress, fresh memory each time"] = repeated(compress, stack)
        ways["decompress"] = repeated(lambda _, chunk=chunk: decompress(chunk, SHAPE, "u2"), stack)
        ways["h5py through the filter"] = filtered(stack)
        compare(ways, n * image.nbytes, rounds)


if __name__ == "__main__":
    main()
