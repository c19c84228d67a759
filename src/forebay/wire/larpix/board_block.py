"""The packet block of forebay, version 1.0: messages of one board as they came, for chips of every version.

Blocks of larpix-daq (`forebay.wire.larpix.block`, version 0.1) have room for words of 7 bytes and nothing
else. This one holds, little endian: ``01 00 2F``, a byte ``FF``, u1 io group, the version of the chips as
text of 12 bytes, u4 number of messages, u4 length of each, the messages, zeros up to a whole number of 10
bytes behind the ``2F``, and one zero more.

larpix-daq's own reader looks at no version: it cuts what is behind the first ``2F`` into pieces of 10 bytes.
The last piece tells it that there is a word of a chip and has no byte of it, which it refuses with a
ValueError: no such block is ever taken for another.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from forebay.errors import ConfigError, WireError
from forebay.wire.larpix.word import format_of
from forebay.wire.pacman_batch import PacmanArrays

VERSION: Final = "1.0"
_BEGIN: Final = b"\x01\x00/"
_HEAD: Final = np.dtype(
    [("mark", "u1"), ("io_group", "u1"), ("asic_version", "S12"), ("n_messages", "<u4")], align=False
)
_MARK: Final = 0xFF
_PIECE: Final = 10


def is_board_block(block: bytes) -> bool:
    """Whether a packet block is one of these."""
    return block[: len(_BEGIN)] == _BEGIN


def encode(arrays: PacmanArrays) -> bytes:
    """Return the block of these messages."""
    head = np.array((_MARK, arrays.io_group, arrays.asic_version.encode(), len(arrays.lengths)), _HEAD)
    lengths = arrays.lengths.astype("<u4").tobytes()
    n_bytes = _HEAD.itemsize + len(lengths) + len(arrays.data)
    return b"".join((_BEGIN, head.tobytes(), lengths, arrays.data, bytes(-n_bytes % _PIECE + 1)))


def decode(block: bytes) -> PacmanArrays:
    """Return the messages of a block; whether they are messages is not looked at.

    Raises
    ------
    WireError
        If it is none, is cut short, or its chips are of no known version.
    """
    if not is_board_block(block) or len(block) < len(_BEGIN) + _HEAD.itemsize:
        raise WireError(f"{len(block)} bytes that begin with {block[:3]!r} are no packet block of a board.")
    head = np.frombuffer(block, _HEAD, 1, len(_BEGIN))[0]
    start = len(_BEGIN) + _HEAD.itemsize
    first = start + 4 * int(head["n_messages"])
    if head["mark"] != _MARK or first > len(block):
        raise WireError(f"A packet block of {len(block)} bytes cannot have {head['n_messages']} messages.")
    lengths = np.frombuffer(block, "<u4", int(head["n_messages"]), start)
    last = first + int(lengths.sum(dtype=np.uint64))
    if len(block) != last + -(last - len(_BEGIN)) % _PIECE + 1:
        raise WireError(f"A packet block of {len(block)} bytes has messages of {last - first} bytes.")
    asic_version = head["asic_version"].decode("ascii", "replace")
    try:
        format_of(asic_version)
    except ConfigError as error:
        raise WireError(f"A packet block has words that nobody can read: {error}") from error
    return PacmanArrays(block[first:last], lengths, int(head["io_group"]), asic_version)
