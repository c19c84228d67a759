"""The container ``.sof`` of SSDAQ 0.9: any objects, in bunches, each with its checksum.

Version 1 is a header, then bunches: a data block (the objects one after the other, compressed as a whole or
not), CRC-32 and length of each object, and a trailer that says where the bunch began. Readers of the original
walk from the last trailer back to the first. Version 0 is a header and, for each object, length, CRC-32 and
bytes. All numbers are little endian.
"""

from __future__ import annotations

import bz2
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
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
_SAYS_AT = 16  # of a trailer: where it begins
_SEARCHED_TOGETHER = 2**20
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
class Bunch:
    """Objects that were written together.

    Attributes
    ----------
    start, trailer:
        Where its data block and its trailer begin.
    n, n_damaged:
        Its objects, and those of them that do not pass their CRC-32.
    is_linked:
        Whether its trailer says rightly where the one before begins, by which readers of the original go.
    """

    start: int
    trailer: int
    n: int
    n_damaged: int
    is_linked: bool


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
        How many of its bytes are whole, from the beginning on.
    n_lost_bytes:
        Bytes between whole bunches, and behind the last one, that are none.
    bunches:
        Those that are whole, of version 1.
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
    n_lost_bytes: int = 0
    bunches: tuple[Bunch, ...] = ()


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

BUNCH_BYTES = 1_000_000
"""Behind so many bytes of objects a bunch ends, as in the original."""


def encode(
    objects: Iterable[bytes], kind: int, compressor: Compressor, created_s: int, software: str
) -> Iterator[bytes]:
    """Yield the parts of a container of version 1: its header, then bunch after bunch."""
    header = encode_header(kind, compressor, created_s, software)
    yield header
    position, trailer, number = len(header), 0, 0
    waiting: list[bytes] = []
    n_waiting = 0
    for one in itertools.chain(objects, (None,)):
        if one is not None:
            waiting.append(one)
            n_waiting += len(one)
        if n_waiting > BUNCH_BYTES or (one is None and waiting):
            bunch = encode_bunch(waiting, compressor, position, trailer, number)
            yield bunch
            position += len(bunch)
            trailer, number, n_waiting = position - TRAILER_BYTES, number + 1, 0
            waiting.clear()


def encode_old(objects: Iterable[bytes], kind: int) -> Iterator[bytes]:
    """Yield the parts of a container of version 0: its header, then object after object."""
    yield _HEADER_0.pack(kind, 0, 0, 0, 0)
    for one in objects:
        yield _OBJECT_0.pack(len(one), zlib.crc32(one)) + one


def is_new(data: bytes) -> bool:
    """Whether a container of version 1 begins so; version 0 cannot be told from other files."""
    return data[:4] == _MAGIC


def decode(data: bytes) -> Sof:
    """Read a container, also one that was cut short or damaged: every bunch that is whole.

    Raises
    ------
    WireError
        If it is no container, or of a version or compressor that is not known.
    """
    if is_new(data):
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
    n_lost = len(data) - position
    return Sof(0, 0, kind, Compressor.NONE, "", objects, n_damaged, not n_lost, position, n_lost)


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
    objects: list[bytes] = []
    bunches: list[Bunch] = []
    position = n_bytes = min(first, len(data))
    n_lost = previous = 0
    for start, trailer in _chain(data, first):
        to_previous, _, _, _, n, _ = _TRAILER.unpack_from(data, trailer)
        found, n_damaged = _objects(data, start, trailer, n, Compressor(compressor))
        objects += found
        bunches.append(Bunch(start, trailer, n, n_damaged, trailer - to_previous == previous))
        n_lost += start - position
        position, previous = trailer + _TRAILER.size, trailer
        n_bytes = position if not n_lost else n_bytes
    n_lost += len(data) - position
    n_damaged = sum(bunch.n_damaged for bunch in bunches)
    return Sof(
        1,
        created_s,
        kind,
        compressor,
        software,
        objects,
        n_damaged,
        len(data) >= first and not n_lost,
        n_bytes,
        n_lost,
        tuple(bunches),
    )


def _chain(data: bytes, first: int) -> Iterator[tuple[int, int]]:
    """Yield begin and trailer of every whole bunch, from the first on; what lies between them is lost."""
    position = first
    for trailer in _trailers(data, first):
        _, to_start, _, _, n, _ = _TRAILER.unpack_from(data, trailer)
        start = trailer - to_start
        if start >= position and 8 * n <= to_start:
            yield start, trailer
            position = trailer + _TRAILER.size


def _trailers(data: bytes, first: int) -> Iterator[int]:
    """Yield every place, in order, at which a number says that a trailer begins there."""
    stop = len(data) - _TRAILER.size + 1
    for begin in range(first, stop, _SEARCHED_TOGETHER):
        n = min(_SEARCHED_TOGETHER, stop - begin)
        said = np.ndarray((n,), "<u8", data, begin + _SAYS_AT, (1,))
        yield from (np.flatnonzero(said == np.arange(begin, begin + n, dtype=np.uint64)) + begin).tolist()


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
