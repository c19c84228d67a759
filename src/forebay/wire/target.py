"""Datagrams of TARGET modules: the slow signal of 64 pixels with two time tags, any number of blocks in each.

A datagram has no header, number or checksum; which module sent it, only the sender's address says
(`forebay.wire.senders`). Every block is one readout of one module. Source of the format: the CHEC-S camera
as its acquisition SSDAQ 0.7 and later reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.event import Array

N_MODULES = 32
N_PIXELS = 64
MILLIVOLTS = 0.03815 * 2
"""Of one count."""

_HALF = N_PIXELS // 2
_OFFSET_BINARY = np.uint16(0x8000)

BLOCK: np.dtype[np.void] = np.dtype(
    [
        ("time_ns", ">u8"),  # TACK of the primary board: the key by which modules are matched
        ("low", ">u2", (_HALF,)),  # pixels 0 .. 31, offset binary
        ("aux_time_ns", ">u8"),  # of the auxiliary board
        ("high", ">u2", (_HALF,)),  # pixels 32 .. 63
    ]
)
"""One readout of one module, as it is sent: 144 bytes."""


def decode(datagram: bytes | memoryview) -> NDArray[np.void]:
    """Return the blocks of one datagram, (block,) of `BLOCK`; the memory is that of the datagram.

    Raises
    ------
    WireError
        If it does not hold a whole number of blocks, or none.
    """
    n_bytes = memoryview(datagram).nbytes
    if not n_bytes or n_bytes % BLOCK.itemsize:
        raise WireError(
            f"A datagram of a TARGET module is {BLOCK.itemsize} bytes long or a multiple, this one {n_bytes}."
        )
    return np.frombuffer(datagram, BLOCK)


def split(rows: NDArray[np.uint8], sizes: NDArray[np.integer[Any]]) -> tuple[NDArray[np.void], Array]:
    """Return the blocks of many datagrams and the row of each block's datagram, in the order of arrival.

    Datagrams that are not a whole number of blocks, empty, or longer than a row give no block:
    `is_whole` says which they are.

    Parameters
    ----------
    rows:
        (datagram, byte), one datagram a row from its first byte on.
    sizes:
        (datagram,) length of each as it was sent.
    """
    whole = np.flatnonzero(is_whole(sizes, rows.shape[1]))
    lengths = sizes[whole]
    n_blocks = lengths // BLOCK.itemsize
    row = np.repeat(whole, n_blocks)
    found = np.unique(lengths).tolist()
    if len(found) == 1:
        return rows[whole, : found[0]].reshape(-1).view(BLOCK), row
    blocks = np.empty(len(row), BLOCK)
    length_of_block = np.repeat(lengths, n_blocks)
    for length in found:
        of_length = rows[whole[lengths == length], :length]
        blocks[length_of_block == length] = of_length.reshape(-1).view(BLOCK)
    return blocks, row


def is_whole(sizes: NDArray[np.integer[Any]], row_bytes: int) -> NDArray[np.bool_]:
    """Return which lengths are a whole number of blocks, not 0, and fit a row; (datagram,)."""
    whole: NDArray[np.bool_] = (sizes > 0) & (sizes <= row_bytes) & (sizes % BLOCK.itemsize == 0)
    return whole


def counts(blocks: NDArray[np.void]) -> NDArray[np.uint16]:
    """Return the amplitudes in counts, (block, pixel)."""
    raw = np.empty((len(blocks), N_PIXELS), np.uint16)
    raw[:, :_HALF] = blocks["low"]
    raw[:, _HALF:] = blocks["high"]
    raw ^= _OFFSET_BINARY
    return raw


def millivolts(blocks: NDArray[np.void]) -> NDArray[np.float64]:
    """Return the amplitudes in mV, (block, pixel), 0 to 5000.3."""
    return counts(blocks) * np.float64(MILLIVOLTS)


def encode(
    time_ns: NDArray[np.uint64], aux_time_ns: NDArray[np.uint64], amplitudes: NDArray[np.uint16]
) -> NDArray[np.void]:
    """Return blocks of `BLOCK`; their bytes, one after the other, are a datagram.

    Parameters
    ----------
    time_ns, aux_time_ns:
        Time tags of the two boards; of any shape, which is that of the result.
    amplitudes:
        (..., pixel) in counts.
    """
    blocks = np.empty(np.shape(time_ns), BLOCK)
    raw = amplitudes ^ _OFFSET_BINARY
    blocks["time_ns"] = time_ns
    blocks["aux_time_ns"] = aux_time_ns
    blocks["low"] = raw[..., :_HALF]
    blocks["high"] = raw[..., _HALF:]
    return blocks


def counts_of(amplitudes_mv: Array) -> NDArray[np.uint16]:
    """Return the nearest counts to amplitudes in mV, clipped to what a module can send."""
    nearest = np.clip(np.rint(np.asarray(amplitudes_mv) / MILLIVOLTS), 0, 2**16 - 1)
    return nearest.astype(np.uint16)
