"""The arrays of an event that lies in a shared ring: looked at before and after they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forebay.errors import OverwrittenError
from forebay.event import Array

if TYPE_CHECKING:
    from forebay.ring.shared import SharedRing


class SlotArrays(Mapping[str, Array]):
    """The arrays of an event in a ring: ``data`` (row, column), ``header`` (module,), ``packets``.

    ``packets`` is bool (module, packet): whether that packet came. Each access copies and raises
    `OverwrittenError` if the slot was reused before the copy was complete.
    """

    def __init__(self, ring: SharedRing, slot: int, pulse_id: int, owners: NDArray[np.uint64]) -> None:
        self._ring = ring
        self._slot = slot
        self._pulse_id = pulse_id
        self._owners = owners

    def __iter__(self) -> Iterator[str]:
        return iter(("data", "header", "packets"))

    def __len__(self) -> int:
        return 3

    def __getitem__(self, name: str) -> Array:
        ring = self._ring
        array: Array
        match name:
            case "data":
                array = np.empty(ring.image_shape, ring.pixel)
                ok = ring.slots.copy_pixels(self._slot, self._owners, array.reshape(-1).view(np.uint8))
            case "header":
                array = np.empty(ring.n_modules, ring.header)
                ok = ring.slots.copy_headers(self._slot, self._owners, array.view(np.uint8))
            case "packets":
                n = -(-ring.packets_per_module // 64)
                words = np.empty((ring.n_modules, n), np.uint64)
                ok = ring.slots.copy_packet_bits(self._slot, self._owners, words.reshape(-1))
                bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
                array = bits[:, : ring.packets_per_module].astype(bool)
            case _:
                raise KeyError(name)
        if not ok:
            raise self._overwritten()
        return array

    @contextmanager
    def lend(self, name: str) -> Iterator[Array]:
        """See `forebay.event.Lender.lend`; images with absent modules are copied."""
        if name != "data" or not self._owners.all():
            yield self[name]
            return
        slots = self._ring.slots
        if not slots.whole(self._slot, self._owners):
            raise self._overwritten()
        yield slots.pixels(self._slot).view(self._ring.pixel).reshape(self._ring.image_shape)
        if not slots.whole(self._slot, self._owners):
            raise self._overwritten()

    def _overwritten(self) -> OverwrittenError:
        return OverwrittenError(
            f"Ring {self._ring.name}: the slot of pulse {self._pulse_id} was reused before it was read.",
            "Give the ring more slots, or read faster.",
        )
