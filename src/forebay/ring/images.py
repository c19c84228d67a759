"""Images in a disk ring: compressed once on the way in, and handed out as they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forebay.event import Array, Chunk, Event, lend
from forebay.ring.segment import Part, Record
from forebay.wire import envelope
from forebay.wire.compress import compress_into, decompress


class CompressedImage(Mapping[str, Array]):
    """Arrays of an event whose ``data`` is there as a chunk only; asking for it decompresses."""

    def __init__(self, chunk: Chunk, others: Mapping[str, Array]) -> None:
        self._chunk = chunk
        self._others = others

    def __getitem__(self, name: str) -> Array:
        if name == "data":
            return decompress(self._chunk.data, self._chunk.shape, self._chunk.dtype)
        return self._others[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("data", *self._others))

    def __len__(self) -> int:
        return 1 + len(self._others)

    def chunk(self, name: str) -> Chunk | None:
        """See `forebay.event.Chunked.chunk`."""
        return self._chunk if name == "data" else None


def compressed(event: Event, buffer: NDArray[np.uint8]) -> Event:
    """Return the event with its ``data`` compressed into `buffer`, and with no reference.

    Parameters
    ----------
    buffer:
        (byte,), as large as `forebay.wire.compress.bound` says; the event is good until it is used again.

    Raises
    ------
    OverwrittenError
        If the event left its ring meanwhile.
    WireError
        If its type cannot be compressed.
    """
    others = {name: event.arrays[name] for name in event.arrays if name != "data"}
    with lend(event, "data") as pixels:
        size = compress_into(pixels, buffer)
        chunk = Chunk(buffer[:size], pixels.shape, pixels.dtype)
    return replace(event, arrays=CompressedImage(chunk, others), reference=None)


def encode(event: Event) -> Sequence[Part]:
    """Return the parts of an event for a disk ring; `WireError` if it cannot be stored."""
    return envelope.encode(event, sequence=0, instance=0, pixels=True, compressed=True)


def decode(record: Record) -> Event:
    """Return a stored event, its images still compressed; `WireError` if it is none."""
    return envelope.decode(record.parts).event
