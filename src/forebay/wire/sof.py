"""The container ``.sof`` of SSDAQ 0.9: any objects, in bunches, each with its checksum.

Version 1 is a header, then bunches: a data block (the objects one after the other, compressed as a whole or
not), CRC-32 and length of each object, and a trailer that says where the bunch began. Readers of the original
walk from the last trailer back to the first. Version 0 is a header and, for each object, length, CRC-32 and
bytes. All numbers are little endian.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

import numpy as np

from forebay.errors import WireError

MAX_BUNCH_BYTES = 2**28
"""Most bytes of a bunch, unpacked."""

_MAGIC = b"SOF\0"
_HEADER = Struct("<4s4xIQHH")
_EXTENSION = Struct("<HHB")
_TRAILER = Struct("<QQQIIH")
_HEADER_0 = Struct("<QIIII")
_OBJECT_0 = Struct("<II")


class Compressor(IntEnum):
    """How data blocks are packed."""

    NONE = 0
    BZ2 = 1


class Kind(IntEnum):
    """What the objects are."""

    LOG = 1
    TIMESTAMP = 2
    TRIGGER = 3
    FRAME = 4


@dataclass(frozen=True, slots=True)
class Sof:
    """A container that was read.

    Attributes
    ----------
    kind:
        A number of `Kind`, or any other.
    software:
        Version of the software that wrote it, as it says.
    objects:
        In the order of writing; those that pass their CRC-32.
    n_damaged:
        Objects that do not.
    is_whole:
        Whether the container ends as it should; not so if its writer was killed.
    n_bytes:
        How many of its bytes are whole.
    """

    version: int
    created_s: int
    kind: int
    compressor: int
    software: str
    objects: list[bytes]
    n_damaged: int
    is_whole: bool
    n_bytes: int


def encode_header(kind: int, compressor: Compressor, created_s: int, software: str) -> bytes:
    """Return what a container of version 1 begins with; `WireError` if the text is longer than 255 bytes."""
    text = software.encode()
    if len(text) > 255:
        raise WireError(f"The name of the software has {len(text)} bytes.", "Give at most 255.")
    extension = _EXTENSION.pack(1, kind, len(text)) + text
    return _HEADER.pack(_MAGIC, 1, created_s, compressor, len(extension)) + extension


def encode_bunch(
    objects: Sequence[bytes], compressor: Compressor, position: int, previous: int, number: int
) -> bytes:
    """Return one bunch.

    Parameters
    ----------
    position:
        Where in the container it begins.
    previous:
        Where the trailer of the bunch before it begins; 0 for the first bunch.
    number:
        Of the bunch, from 0.
    """
    data = b"".join(objects)
    if compressor is Compressor.BZ2:
        data = bz2.compress(data)
    checks = np.array([zlib.crc32(one) for one in objects], "<u4").tobytes()
    lengths = np.array([len(one) for one in objects], "<u4").tobytes()
    trailer = position + len(data) + len(checks) + len(lengths)
    return b"".join(
        (
            data,
            checks,
            lengths,
            _TRAILER.pack(trailer - previous, trailer - position, trailer, 0, len(objects), number % 2**16),
        )
    )


TRAILER_BYTES = _TRAILER.size


def decode(data: bytes) -> Sof:
    """Read a container, also one that was cut short: then without its last bunch or object.

    Raises
    ------
    WireError
        If it is no container, or of a version or compressor that is not known.
    """
    if data[:4] == _MAGIC:
        return _decode_1(data)
    if len(data) >= _HEADER_0.size:
        kind, version, *_ = _HEADER_0.unpack_from(data)
        if version == 0 and 0 < kind < 2**16:
            return _decode_0(data, kind)
    raise WireError("These bytes are no .sof container.", "Name a file that SSDAQ or forebay wrote.")


def _decode_0(data: bytes, kind: int) -> Sof:
    objects: list[bytes] = []
    n_damaged, position = 0, _HEADER_0.size
    while position + _OBJECT_0.size <= len(data):
        n, crc = _OBJECT_0.unpack_from(data, position)
        start = position + _OBJECT_0.size
        if start + n > len(data):
            break
        one = data[start : start + n]
        if zlib.crc32(one) == crc:
            objects.append(one)
        else:
            n_damaged += 1
        position = start + n
    return Sof(0, 0, kind, Compressor.NONE, "", objects, n_damaged, position == len(data), position)


def _decode_1(data: bytes) -> Sof:
    if len(data) < _HEADER.size:
        raise WireError("The .sof container ends inside its header.")
    _, version, created_s, compressor, n_extension = _HEADER.unpack_from(data)
    if version != 1 or compressor not in tuple(Compressor):
        raise WireError(f".sof of version {version} with compressor {compressor} is not known.")
    first = _HEADER.size + n_extension
    extension = data[_HEADER.size : first]
    kind, software = 0, ""
    if len(extension) >= _EXTENSION.size:
        _, kind, n = _EXTENSION.unpack_from(extension)
        software = extension[_EXTENSION.size : _EXTENSION.size + n].decode("utf-8", "replace")
    bunches = _bunches(data, first)
    n_bytes = bunches[-1][1] + _TRAILER.size if bunches else min(first, len(data))
    objects: list[bytes] = []
    n_damaged = 0
    for start, trailer, n in bunches:
        found, damaged = _objects(data, start, trailer, n, Compressor(compressor))
        objects += found
        n_damaged += damaged
    return Sof(1, created_s, kind, compressor, software, objects, n_damaged, n_bytes == len(data), n_bytes)


def _bunches(data: bytes, first: int) -> list[tuple[int, int, int]]:
    """Return begin, trailer and number of objects of each bunch."""
    found = _walk(data, len(data), first)
    if found:
        return found
    # Its writer was killed: the last place that is a trailer of a whole chain of them is the end.
    for end in range(len(data) - 1, first + _TRAILER.size - 1, -1):
        at = end - _TRAILER.size
        if int.from_bytes(data[at + 16 : at + 24], "little") == at and (found := _walk(data, end, first)):
            return found
    return []


def _walk(data: bytes, end: int, first: int) -> list[tuple[int, int, int]]:
    """Return the bunches from the one that ends at `end` back to the first; none if they do not join."""
    found = []
    while end > first:
        at = end - _TRAILER.size
        if at < first:
            return []
        _, to_start, trailer, _, n, _ = _TRAILER.unpack_from(data, at)
        start = at - to_start
        if trailer != at or start < first or 8 * n > to_start:
            return []
        found.append((start, at, n))
        end = start
    return found[::-1] if end == first else []


def _objects(
    data: bytes, start: int, trailer: int, n: int, compressor: Compressor
) -> tuple[list[bytes], int]:
    """Return the objects of one bunch that pass their CRC-32, and how many do not."""
    checks = np.frombuffer(data, "<u4", n, trailer - 8 * n)
    lengths = np.frombuffer(data, "<u4", n, trailer - 4 * n)
    total = int(lengths.astype(np.int64).sum())
    packed = data[start : trailer - 8 * n]
    if total > MAX_BUNCH_BYTES:
        return [], n
    if compressor is Compressor.BZ2:
        unpacker = bz2.BZ2Decompressor()
        try:
            packed = unpacker.decompress(packed, total + 1)
        except (OSError, ValueError, EOFError):
            return [], n
    if len(packed) != total:
        return [], n
    good = []
    position = 0
    for length, crc in zip(lengths.tolist(), checks.tolist(), strict=True):
        one = packed[position : position + length]
        position += length
        if zlib.crc32(one) == crc:
            good.append(one)
    return good, n - len(good)
