"""How batches of finished frames travel from the receiver to the builder.

Two parts: a JSON header, and the records as they lie in memory. The header carries

* ``format``: ``forebay-frames/1``,
* ``instance``: random number of the sender, drawn at its start, and ``sequence``: how many batches it
  had offered before this one,
* ``ring`` and ``generation``: the shared ring in which the pixels lie,
* ``type``: name and type of each field of a record, so that two versions cannot misread each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from forebay.errors import WireError
from forebay.event import Array
from forebay.wire.dtype import TypeText, to_text

MAX_BYTES = 2**22
"""Most bytes of records in one batch."""

_Word = Annotated[int, msgspec.Meta(ge=0)]


class _Header(msgspec.Struct, tag_field="format", tag="forebay-frames/1", frozen=True):
    sequence: _Word
    instance: _Word
    ring: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    generation: _Word
    type: TypeText


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Header)


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Finished frames of one receiver, in the order in which it finished them.

    Attributes
    ----------
    frames:
        (frame,) records, as a rule `forebay.ring.slots.FRAME`; read only.
    ring, generation:
        Which shared ring holds their pixels.
    instance, sequence:
        Who sent the batch, and how many it had offered before.
    """

    frames: Array
    ring: str
    generation: int
    instance: int
    sequence: int


def encode(batch: FrameBatch) -> list[bytes | memoryview]:
    """Return header and records; the memory of the records is lent, not copied.

    Raises
    ------
    WireError
        If the records are not (frame,) of a packed flat type, or more than `MAX_BYTES`.
    """
    frames = batch.frames
    if frames.ndim != 1 or frames.nbytes > MAX_BYTES:
        raise WireError(
            f"A batch of frames of shape {frames.shape} and {frames.nbytes} bytes cannot be sent.",
            f"Send (frame,) of at most {MAX_BYTES} bytes.",
        )
    header = _Header(batch.sequence, batch.instance, batch.ring, batch.generation, to_text(frames.dtype))
    return [_encoder.encode(header), np.ascontiguousarray(frames).view(np.uint8).data]


def decode(parts: Sequence[bytes | memoryview], record: np.dtype[Any]) -> FrameBatch:
    """Read one message of records of type `record`; the memory is that of the message.

    Raises
    ------
    WireError
        If the parts are anything else than what `encode` makes of such records.
    """
    if len(parts) != 2:
        raise WireError(f"A batch of frames has 2 parts, this message {len(parts)}.")
    try:
        header = _decoder.decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"The header of a batch of frames cannot be read: {error}.") from error
    if max(header.sequence, header.instance, header.generation) >= 2**64:
        raise WireError("A number in the header of a batch of frames needs more than 64 bits.")
    if header.type != to_text(record):
        raise WireError(
            f"Frames have records of {str(header.type)[:200]}, not of {record}.",
            "Start both processes from the same version of forebay.",
        )
    n_bytes = memoryview(parts[1]).nbytes
    if n_bytes % record.itemsize or n_bytes > MAX_BYTES:
        raise WireError(f"{n_bytes} bytes are not a batch of records of {record.itemsize} bytes.")
    frames = np.frombuffer(parts[1], record) if n_bytes else np.empty(0, record)
    return FrameBatch(frames, header.ring, header.generation, header.instance, header.sequence)
