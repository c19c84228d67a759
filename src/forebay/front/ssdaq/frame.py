"""`Frame`: a dictionary of readouts, messages and arrays that travels and is stored as one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from forebay.errors import WireError
from forebay.front.ssdaq.readout import SSReadoutB
from forebay.front.ssdaq.records import LogData, MonitorData, TelData, TriggerMessage
from forebay.front.ssdaq.triggers import TriggerPacket
from forebay.wire import frame, trigger
from forebay.wire.trigger import TriggerPattern

_DATA = "ssdaq.data._dataimpl"
_TRIGGERS = f"{_DATA}.trigger_format"
_MESSAGES = {one.__name__: one for one in (LogData, MonitorData, TelData, TriggerMessage)}
_READ: dict[str, Callable[[bytes], Any]] = {
    "SSReadout": SSReadoutB.from_bytes,
    "ndarray": frame.decode_array,
    "TriggerPacket": TriggerPacket.unpack,
    **{name: one.unpack for name, one in _MESSAGES.items()},
}


class Frame:
    """Objects by name; those of a frame that was read are read when they are asked for.

    It takes arrays of NumPy, readouts and messages of 0.9, trigger patterns and bytes. What would have to be
    pickled is refused when it is added. An object of a class that is not known here stays bytes; so do arrays
    of frames of the original.
    """

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}  # a `frame.Part` until it is asked for

    def add(self, key: str, value: Any) -> None:
        """Put an object under a name.

        Raises
        ------
        forebay.errors.WireError
            If it is of a kind that a frame cannot have.
        """
        _packed(key, value)
        self._objects[key] = value

    __setitem__ = add

    def __getitem__(self, key: str) -> Any:
        found = self._objects[key]
        if isinstance(found, frame.Part):
            found = self._objects[key] = _read(found)
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the object of a name, or `default`; `forebay.errors.WireError` if it cannot be read."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._objects)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over names and objects; raises as `get`."""
        return ((key, self[key]) for key in list(self._objects))

    def serialize(self) -> bytes:
        """Return the bytes of the frame; what was not read goes along as it is."""
        return frame.encode(
            [one if isinstance(one, frame.Part) else _packed(key, one) for key, one in self._objects.items()]
        )

    pack = serialize

    @classmethod
    def deserialize(cls, data: bytes) -> Self:
        """Return the frame of these bytes; `forebay.errors.WireError` if it is none."""
        found = cls()
        found._objects = {part.key: part for part in frame.decode(data)}
        return found

    unpack = from_bytes = deserialize

    def deserialize_m(self, data: bytes) -> None:
        """Take over the objects of a frame; `forebay.errors.WireError` if these bytes are none."""
        self._objects |= {part.key: part for part in frame.decode(data)}

    def __repr__(self) -> str:
        return f"Frame({', '.join(self._objects)})"


def _packed(key: str, value: Any) -> frame.Part:
    if isinstance(value, np.ndarray):
        return frame.Part(key, *frame.ARRAY, frame.encode_array(value))
    if isinstance(value, SSReadoutB):
        return frame.Part(key, "SSReadout", f"{_DATA}.slowsignal_format", value.pack())
    if isinstance(value, TriggerPattern):
        return frame.Part(key, "TriggerPacket", _TRIGGERS, trigger.encode(value))
    if isinstance(value, LogData | MonitorData | TelData | TriggerMessage):
        return frame.Part(key, type(value).__name__, _DATA, value.pack())
    if isinstance(value, bytes | bytearray | memoryview):
        return frame.Part(key, "bytes", "builtins", bytes(value))
    raise WireError(
        f"A frame cannot have {key!r}, a {type(value).__name__}: it would have to be pickled.",
        "Make an array or bytes of it, or put its parts there one by one.",
    )


def _read(part: frame.Part) -> Any:
    kind = "TriggerPacket" if part.module == _TRIGGERS else part.kind
    return _READ.get(kind, bytes)(part.data)
