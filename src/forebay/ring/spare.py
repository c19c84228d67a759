"""Memory that large blocks are read into, used again and again.

Memory that the system has to find, and to clear, costs more than the read into it.
"""

from __future__ import annotations

import os
import weakref
from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES: Final = 128 * 2**20
"""Most that is kept of each size while nobody uses it; sizes are powers of two."""

_LARGE: Final = 128 * 2**10  # the C library finds memory for smaller ones without the system

_spare: defaultdict[int, list[NDArray[np.uint8]]] = defaultdict(list)


def read(file: int, n_bytes: int, offset: int) -> bytes | memoryview:
    """Read a block of a file, read only; shorter where the file ends before.

    Its memory is used again once no view of it is left, so look at it through `memoryview` and
    `numpy.frombuffer`, which keep it.
    """
    if n_bytes < _LARGE:
        return os.pread(file, n_bytes, offset)
    size = 1 << (n_bytes - 1).bit_length()
    try:
        memory = _spare[size].pop()
    except IndexError:
        memory = np.empty(size, np.uint8)
    block = memory[:]
    weakref.finalize(block, _keep, memory).atexit = False
    view = block.data[:n_bytes]
    return view[: os.preadv(file, [view], offset)].toreadonly()


def _keep(memory: NDArray[np.uint8]) -> None:
    kept = _spare[memory.size]
    if (len(kept) + 1) * memory.size <= KEPT_BYTES:
        kept.append(memory)  # called by any thread, at any moment: no lock here
