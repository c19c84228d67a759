"""An event: everything that one source has for one pulse id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of any type; the shape is said where it matters."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the pixels of an event lie in a shared ring of this host.

    Attributes
    ----------
    ring:
        Name of the ring, as given to `forebay.ring.shared.attach`.
    generation:
        Number that the ring drew when it was created; another value means another ring.
    number:
        Position of the event in the ring's log, counted from 0.
    """

    ring: str
    generation: int
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """Everything one source has for one pulse id.

    Attributes
    ----------
    source:
        Name of the detector or stream.
    pulse_id:
        The beat of the common clock, 0 .. 2**63 - 1.
    time_ns:
        When its first packet arrived or its sender stamped it: ns since 1970, UTC.
    arrays:
        Named arrays. An image has ``data`` (row, column) and ``header`` (module,), the detector's
        own header of each module. A lazy mapping may fetch or decode at access; its owner says what
        it raises.
    missing_packets:
        uint32 (module,): how many packets of each module never came; 0 is whole. Shape (0,) for
        sources without modules. The pixels of missing packets are 0.
    packets_per_module:
        How many packets a whole module has; 0 for sources without modules.
    reference:
        Where the pixels lie in shared memory, or None.
    """

    source: str
    pulse_id: int
    time_ns: int
    arrays: Mapping[str, Array]
    missing_packets: NDArray[np.uint32]
    packets_per_module: int = 0
    reference: Reference | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every packet of every module came."""
        return not self.missing_packets.any()

    @property
    def missing_modules(self) -> tuple[int, ...]:
        """Indices of the modules of which nothing came."""
        if not self.packets_per_module:
            return ()
        return tuple(int(i) for i in np.flatnonzero(self.missing_packets >= self.packets_per_module))


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """An array as HDF5 filter 32008 stores it, see `forebay.wire.compress`.

    Attributes
    ----------
    data:
        (byte,) uint8, read only.
    shape, dtype:
        Of the array.
    """

    data: NDArray[np.uint8]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Chunked(Protocol):
    """Arrays of which some are there compressed."""

    def chunk(self, name: str) -> Chunk | None:
        """Return one array as it is stored; None if it is not compressed."""
        ...


class Lender(Protocol):
    """Arrays that may be looked at where they lie, without a copy."""

    def lend(self, name: str) -> AbstractContextManager[Array]:
        """Lend one array, read only, for the length of a ``with`` block.

        Leaving the block raises `forebay.errors.OverwrittenError` if the memory was reused meanwhile:
        whatever was made of the array is then worthless.
        """
        ...


@contextmanager
def lend(event: Event, name: str) -> Iterator[Array]:
    """Lend one array of an event without a copy where its owner can; see `Lender.lend`."""
    lender: Callable[[str], AbstractContextManager[Array]] | None = getattr(event.arrays, "lend", None)
    if lender is not None:  # see `Lender`; asking for the protocol itself is slow
        with lender(name) as array:
            yield array
    else:
        yield event.arrays[name]


def chunk_of(event: Event, name: str) -> Chunk | None:
    """Return one array of an event compressed, where its owner has it so; see `Chunked.chunk`."""
    chunk: Callable[[str], Chunk | None] | None = getattr(event.arrays, "chunk", None)
    return None if chunk is None else chunk(name)
