"""How an event travels between forebay's processes: one small header, then the bytes of its arrays.

Part 0 is JSON, so that any language reads it:

* ``format``: ``forebay-event/1``,
* ``instance``: random number of the publisher, drawn at its start, and ``sequence``: how many events it
  had offered before this one,
* ``source``, ``pulse_id``, ``time_ns``, ``missing_packets`` (one number a module),
  ``packets_per_module``: as in `forebay.event.Event`,
* ``reference``: ``ring``, ``generation`` and ``number`` of the pixels in shared memory, or null,
* ``arrays``: ``name``, ``type`` (``"<u2"``, or name and type of each field), ``shape``, ``encoding``
  (``raw`` or ``bitshuffle-lz4``) and ``n_bytes`` as encoded, of each array that follows.

Then come the bytes of the arrays, in that order, each cut into parts of `PART_BYTES`, the last one
shorter; an array without bytes has no part. Parts of a few MiB travel two to four times faster than
whole large images, for which the receiver's allocator maps and unmaps fresh memory each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np

from forebay.errors import WireError
from forebay.event import Array, Chunk, Event, Reference, chunk_of
from forebay.wire.compress import compress, decompress
from forebay.wire.dtype import TypeText, from_text, to_text

PART_BYTES = 4 * 2**20
"""Bytes of every part of an array but its last."""

MAX_BYTES = 2**30
"""Most bytes that all arrays of one event have, decoded."""

MAX_ARRAYS = 256
MAX_DIMENSIONS = 8
MAX_MODULES = 4096

Part = bytes | memoryview

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Signed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Word = Annotated[int, msgspec.Meta(ge=0)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Encoding = Literal["raw", "bitshuffle-lz4"]


class _Array(msgspec.Struct, frozen=True):
    name: _Name
    type: TypeText
    shape: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    encoding: _Encoding
    n_bytes: _Count


class _Reference(msgspec.Struct, frozen=True):
    ring: _Name
    generation: _Word
    number: _Word


class _Header(msgspec.Struct, tag_field="format", tag="forebay-event/1", frozen=True):
    sequence: _Word
    instance: _Word
    source: _Name
    pulse_id: _Signed
    time_ns: _Signed
    missing_packets: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=MAX_MODULES)]
    packets_per_module: _Count
    reference: _Reference | None
    arrays: Annotated[tuple[_Array, ...], msgspec.Meta(max_length=MAX_ARRAYS)]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Header)


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """An event with who sent it and how many that one had offered before."""

    event: Event
    sequence: int
    instance: int


class WireArrays(Mapping[str, Array]):
    """Arrays that stay as they came until somebody asks for one; what is returned is read only.

    An array of several parts is joined, a compressed one decompressed, at every access. Asking for a
    compressed one raises `WireError` if it does not decompress.
    """

    def __init__(self, arrays: Mapping[str, tuple[_Array, Sequence[Part]]]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Array:
        described, parts = self._arrays[name]
        dtype = from_text(described.type)
        if described.encoding != "raw":
            array = decompress(_join(parts, described.n_bytes), described.shape, dtype)
        elif described.n_bytes:
            array = np.frombuffer(_join(parts, described.n_bytes), dtype).reshape(described.shape)
        else:
            array = np.empty(described.shape, dtype)
        if not array.flags.aligned:
            array = array.copy()
        array.flags.writeable = False
        return array

    def chunk(self, name: str) -> Chunk | None:
        """See `forebay.event.Chunked.chunk`."""
        described, parts = self._arrays[name]
        if described.encoding == "raw":
            return None
        joined = np.frombuffer(_join(parts, described.n_bytes), np.uint8)
        return Chunk(joined, described.shape, from_text(described.type))

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def nbytes(self) -> int:
        """Bytes that they occupy, as they came."""
        return sum(described.n_bytes for described, _ in self._arrays.values())


def encode(
    event: Event, *, sequence: int, instance: int, pixels: bool, compressed: bool = False
) -> list[Part]:
    """Return the message of one event; the memory of its arrays is lent, not copied.

    Parameters
    ----------
    pixels:
        Send the arrays, and then no reference, which means nothing elsewhere. Otherwise send the
        reference alone; no array is even looked at.
    compressed:
        Compress numeric arrays of two and more dimensions by bitshuffle-LZ4; what is there compressed
        is sent as it is.

    Raises
    ------
    WireError
        If a number, a name or an array is not one that `decode` would accept.
    """
    described: list[_Array] = []
    parts: list[Part] = []
    for name in event.arrays if pixels else ():
        data: memoryview
        encoding: _Encoding = "raw"
        chunk = chunk_of(event, name) if compressed else None
        if chunk is not None:
            described.append(
                _Array(name, to_text(chunk.dtype), chunk.shape, "bitshuffle-lz4", chunk.data.nbytes)
            )
            parts += [chunk.data.data[i : i + PART_BYTES] for i in range(0, chunk.data.nbytes, PART_BYTES)]
            continue
        array = event.arrays[name]
        text = to_text(array.dtype)
        if compressed and array.ndim >= 2 and array.size and array.dtype.kind in "biuf":
            data, encoding = compress(array).data, "bitshuffle-lz4"
        else:
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        described.append(_Array(name, text, array.shape, encoding, len(data)))
        parts += [data[i : i + PART_BYTES] for i in range(0, len(data), PART_BYTES)]
    at = event.reference
    header = _Header(
        sequence,
        instance,
        event.source,
        int(event.pulse_id),
        int(event.time_ns),
        tuple(event.missing_packets.tolist()),
        int(event.packets_per_module),
        _Reference(at.ring, at.generation, at.number) if at and not pixels else None,
        tuple(described),
    )
    try:
        head = _encoder.encode(header)
        _check(_decoder.decode(head))
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise WireError(f"Event {event.pulse_id} of {event.source!r} cannot be sent: {error}.") from error
    return [head, *parts]


def decode(parts: Sequence[Part]) -> Envelope:
    """Read one message; the memory of the arrays is that of the parts.

    Raises
    ------
    WireError
        If the parts are anything else than what `encode` makes. Only whether a compressed array
        decompresses is found out when it is asked for, see `WireArrays`.
    """
    if not parts:
        raise WireError("A message without parts is no event.")
    try:
        header = _decoder.decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(
            f"The header of an event cannot be read: {error}.",
            "Only streams of the same version of forebay can be read.",
        ) from error
    _check(header)
    arrays: dict[str, tuple[_Array, Sequence[Part]]] = {}
    position = 1
    for described in header.arrays:
        n_parts = -(-described.n_bytes // PART_BYTES)
        mine = parts[position : position + n_parts]
        position += n_parts
        lengths = [memoryview(part).nbytes for part in mine]
        if sum(lengths) != described.n_bytes or any(n != PART_BYTES for n in lengths[:-1]):
            raise WireError(
                f"Array {described.name!r}: {described.n_bytes} bytes in the header, its parts {lengths}."
            )
        arrays[described.name] = (described, mine)
    if position != len(parts):
        raise WireError(f"The header of an event announces {position} parts, and {len(parts)} came.")
    missing = np.array(header.missing_packets, np.uint32)
    missing.flags.writeable = False
    at = header.reference
    event = Event(
        header.source,
        header.pulse_id,
        header.time_ns,
        WireArrays(arrays),
        missing,
        header.packets_per_module,
        Reference(at.ring, at.generation, at.number) if at else None,
    )
    return Envelope(event, header.sequence, header.instance)


def _check(header: _Header) -> None:
    """Refuse what the types of the header cannot say."""
    at = header.reference
    if max(header.sequence, header.instance, at.generation if at else 0, at.number if at else 0) >= 2**64:
        raise WireError("A number in the header of an event needs more than 64 bits.")
    if len({described.name for described in header.arrays}) != len(header.arrays):
        raise WireError("Two arrays of an event have the same name.")
    total = 0
    for described in header.arrays:
        itemsize = from_text(described.type).itemsize
        n_bytes = math.prod(described.shape) * itemsize
        total += math.prod(max(n, 1) for n in described.shape) * itemsize
        if described.encoding == "raw" and n_bytes != described.n_bytes:
            raise WireError(
                f"Array {described.name!r} of shape {described.shape} has {n_bytes} bytes by its type, "
                f"not {described.n_bytes}."
            )
        if described.n_bytes > MAX_BYTES or total > MAX_BYTES:
            raise WireError(f"The arrays of an event pass {MAX_BYTES} bytes.")


def _join(parts: Sequence[Part], n_bytes: int) -> Part:
    if len(parts) == 1:
        return parts[0]
    joined = np.empty(n_bytes, np.uint8)
    position = 0
    for part in parts:
        piece = np.frombuffer(part, np.uint8)
        joined[position : position + piece.size] = piece
        position += piece.size
    return joined.data
