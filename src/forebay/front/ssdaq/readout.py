"""`SSReadout`: one readout as users of SSDAQ's Python library know it, of 0.7 and of 0.9."""

from __future__ import annotations

import struct
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forebay.wire import ssreadout
from forebay.wire.camera_map import mapped
from forebay.wire.target import N_MODULES, N_PIXELS

_SHAPE = (N_MODULES, N_PIXELS)
_HEAD_B = struct.Struct("<4Q")


def _data(data: ArrayLike | None) -> NDArray[np.float64]:
    if data is None:
        return np.full(_SHAPE, np.nan)
    found: NDArray[np.float64] = np.asarray(data, np.float64).reshape(_SHAPE)
    return found


class SSReadout:
    """A readout of SSDAQ 0.7.

    Attributes
    ----------
    readout_number:
        From 1.
    readout_timestamp:
        Time tag of the block that opened it, ns.
    data:
        (module, pixel) in mV; the row of a missing module is NaN.
    timestamps:
        (module, 2): time tags of the primary and the auxiliary board, 0 where the module is missing.
    """

    def __init__(
        self,
        timestamp: int = 0,
        readout_number: int = 0,
        data: ArrayLike | None = None,
        timestamps: ArrayLike | None = None,
    ) -> None:
        self.readout_number = readout_number
        self.readout_timestamp = timestamp
        self.data = _data(data)
        self.timestamps: NDArray[np.uint64] = (
            np.zeros((N_MODULES, 2), np.uint64)
            if timestamps is None
            else np.asarray(timestamps, np.uint64).reshape(N_MODULES, 2)
        )

    @classmethod
    def of(cls, record: np.void) -> Self:
        """Return the readout of a record of `forebay.wire.ssreadout.READOUT`."""
        return cls(int(record["time_ns"]), int(record["number"]), record["data"], record["timestamps"])

    def record(self) -> NDArray[np.void]:
        """Return it as (1,) of `forebay.wire.ssreadout.READOUT`."""
        out = ssreadout.new(1)
        out["number"], out["time_ns"] = self.readout_number, self.readout_timestamp
        out["data"], out["timestamps"] = self.data, self.timestamps
        return out

    def pack(self) -> bytearray:
        """Return the message, 16912 bytes."""
        return bytearray(ssreadout.encode(self.record(), "A")[0])

    def unpack(self, message: bytes | bytearray | memoryview) -> None:
        """Take over what a message says.

        Raises
        ------
        forebay.errors.WireError
            If it is no readout.
        """
        record = ssreadout.decode([memoryview(message)])[0]
        self.readout_number, self.readout_timestamp = int(record["number"]), int(record["time_ns"])
        self.data, self.timestamps = record["data"], record["timestamps"]

    @property
    def asic_mapped_data(self) -> NDArray[np.float64]:
        """The data in the order of the ASICs' channels."""
        return mapped(self.data, "ssl2asic_ch")

    @property
    def colrow_mapped_data(self) -> NDArray[np.float64]:
        """The data in the order of the pixels of a module, row by row."""
        return mapped(self.data, "ssl2colrow")

    def __repr__(self) -> str:
        there = ssreadout.present(self.record())[0]
        return (
            f"SSReadout(number {self.readout_number}, time {self.readout_timestamp} ns, "
            f"{int(there.sum())} modules)"
        )


class SSReadoutB:
    """A readout of SSDAQ 0.9, there called ``SSReadout`` too.

    Attributes
    ----------
    iro:
        Number, from 1.
    time:
        Time tag, ns.
    cpu_t_s, cpu_t_ns:
        When it arrived: seconds since 1970 UTC, and ns of that second.
    data:
        (module, pixel) in mV; the row of a missing module is NaN.
    """

    def __init__(
        self,
        timestamp: int = 0,
        readout_number: int = 0,
        cpu_t_s: int = 0,
        cpu_t_ns: int = 0,
        data: ArrayLike | None = None,
    ) -> None:
        self.iro = readout_number
        self.time = timestamp
        self.cpu_t_s = cpu_t_s
        self.cpu_t_ns = cpu_t_ns
        self.data = _data(data)

    @property
    def cpu_t(self) -> float:
        """When it arrived, seconds since 1970 UTC."""
        return self.cpu_t_s + self.cpu_t_ns * 1e-9

    @classmethod
    def of(cls, record: np.void) -> Self:
        """Return the readout of a record of `forebay.wire.ssreadout.READOUT`."""
        seconds, rest = divmod(int(record["arrived_ns"]), 10**9)
        return cls(int(record["time_ns"]), int(record["number"]), seconds, rest, record["data"])

    def record(self) -> NDArray[np.void]:
        """Return it as (1,) of `forebay.wire.ssreadout.READOUT`."""
        out = ssreadout.new(1)
        out["number"], out["time_ns"], out["data"] = self.iro, self.time, self.data
        out["arrived_ns"] = self.cpu_t_s * 10**9 + self.cpu_t_ns
        return out

    def pack(self) -> bytes:
        """Return the message, 16416 bytes."""
        head = _HEAD_B.pack(self.iro, self.time, self.cpu_t_s, self.cpu_t_ns)
        return head + self.data.astype("<f8").tobytes()

    def unpack(self, message: bytes | bytearray | memoryview) -> None:
        """Take over what a message says; `forebay.errors.WireError` if it is no readout."""
        self.__dict__.update(vars(type(self).of(ssreadout.decode([memoryview(message)])[0])))

    @classmethod
    def from_bytes(cls, message: bytes | bytearray | memoryview) -> Self:
        """Return the readout of a message; raises as `unpack`."""
        return cls.of(ssreadout.decode([memoryview(message)])[0])

    def serialize(self) -> bytes:
        """Return the message."""
        return self.pack()

    @classmethod
    def deserialize(cls, message: bytes | bytearray | memoryview) -> Self:
        """Return the readout of a message; raises as `unpack`."""
        return cls.from_bytes(message)

    def __repr__(self) -> str:
        return f"SSReadout(iro {self.iro}, time {self.time} ns)"


def record_of(readout: Any) -> NDArray[np.void]:
    """Return anything with the attributes of a readout of either kind as (1,) of `READOUT`."""
    if hasattr(readout, "iro"):
        return SSReadoutB(readout.time, readout.iro, readout.cpu_t_s, readout.cpu_t_ns, readout.data).record()
    return SSReadout(
        readout.readout_timestamp, readout.readout_number, readout.data, readout.timestamps
    ).record()
