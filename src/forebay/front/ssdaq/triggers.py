"""`TriggerPacket`: a trigger pattern by the names that SSDAQ 0.9 gives its fields, whatever its type."""

from __future__ import annotations

from dataclasses import fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forebay.wire import trigger
from forebay.wire.trigger import TriggerPattern


class TriggerPacket(TriggerPattern):
    """One trigger; `source` of types 0 and 1 is the trigger type."""

    __slots__ = ()

    @classmethod
    def of(cls, pattern: TriggerPattern) -> Self:
        """Return a pattern by these names."""
        values = {field.name: getattr(pattern, field.name) for field in fields(TriggerPattern)}
        if pattern.type < 2:
            values["source"] = pattern.trigger_type
        return cls(**values)

    @classmethod
    def unpack(cls, packet: bytes | memoryview) -> Self:
        """Return the trigger of a datagram; `forebay.errors.WireError` if it is none."""
        return cls.of(trigger.decode(packet))

    deserialize = unpack

    def pack(self) -> bytes:
        """Return the datagram."""
        return trigger.encode(self)

    def serialize(self) -> bytes:
        """Return the datagram."""
        return self.pack()

    @property
    def mtype(self) -> int:
        """Type of the datagram, 0 to 3."""
        return self.type

    @property
    def tack_time(self) -> int:
        """TACK, ns."""
        return self.time_ns

    @property
    def busy(self) -> bool:
        """Whether the camera was busy."""
        return self.is_busy

    @property
    def ro_count(self) -> int:
        """Counter of triggers (types 0 and 1) or readouts."""
        return self.count

    @property
    def pps_count(self) -> int:
        """Counter of seconds."""
        return self.pps

    @property
    def clock_count(self) -> int:
        """Counter of the clock since the second."""
        return self.clock

    @property
    def phase_index(self) -> int:
        """Which bit of `phase` is set, 0 to 7; -1 if none is."""
        return self.phase.bit_length() - 1

    @property
    def readout_length(self) -> int:
        """Samples."""
        return len(self.pattern)

    @property
    def trigg_pattrns(self) -> NDArray[np.uint8]:
        """(sample, superpixel): 1 where it fired."""
        return self.pattern.view(np.uint8)

    @property
    def trigg_union(self) -> NDArray[np.bool_]:
        """(superpixel,): which fired at all."""
        return self.union

    @property
    def trigg(self) -> NDArray[np.uint8]:
        """(superpixel,): which fired in the sample of `phase_index`."""
        found: NDArray[np.uint8] = self.trigg_pattrns[max(self.phase_index, 0)]
        return found
