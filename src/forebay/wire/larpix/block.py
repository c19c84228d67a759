"""The packet block of larpix-daq: words of version 1 and timestamps, 10 bytes each, behind ``00 01 2F``."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.wire.larpix.word import V1

_HEAD: Final = b"\x00\x01/"
_MARK: Final = b"/"

RECORD: Final = np.dtype([("kind", "u1"), ("body", "u1", (7,)), ("io_group", "u1"), ("io_channel", "u1")])
"""`kind` 0 is a word of a chip, 1 a timestamp (little-endian unix seconds)."""

WORD, TIMESTAMP = 0, 1

Records = NDArray[np.void]


def make(kind: int, values: NDArray[np.uint64], io_group: object = 0, io_channel: object = 0) -> Records:
    """Return records of words or of timestamps; group and channel broadcast."""
    records = np.zeros(len(values), RECORD)
    records["kind"] = kind
    records["body"] = np.ascontiguousarray(values, "<u8").view(np.uint8).reshape(-1, 8)[:, :7]
    records["io_group"], records["io_channel"] = io_group, io_channel
    return records


def values_of(records: Records) -> NDArray[np.uint64]:
    """Return words, of which only 54 bits count, or seconds, as integers."""
    padded = np.zeros((len(records), 8), np.uint8)
    padded[:, :7] = records["body"]
    values = padded.view("<u8").ravel().astype(np.uint64)
    return np.where(records["kind"] == WORD, values & V1.mask, values)


def encode(records: Records) -> bytes:
    """Return the block of these records."""
    return _HEAD + records.tobytes()


def decode(block: bytes) -> Records:
    """Return the records of a block: everything behind its first ``/``, whatever version stands before it.

    Raises
    ------
    WireError
        If there is no ``/``, the records are cut short, or one is of another kind.
    """
    _, mark, body = bytes(block).partition(_MARK)
    if not mark:
        raise WireError("A packet block has no '/' behind its version.")
    if len(body) % RECORD.itemsize:
        raise WireError(f"A packet block of {len(body)} bytes is no whole number of records of 10.")
    records = np.frombuffer(body, RECORD)
    if records["kind"].size and records["kind"].max() > TIMESTAMP:
        raise WireError(f"A packet block has a record of kind {records['kind'].max()}.")
    return records
