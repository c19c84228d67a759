"""Readouts of the CHEC camera and the messages in which SSDAQ publishes them, of all its generations.

The newest generation (B) says when a readout arrived, the one before (A) has both time tags of every
module. A message is one frame of fixed size and little endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.event import Array, Event
from forebay.wire.target import N_MODULES, N_PIXELS

Generation = Literal["A", "B"]

_DATA = (N_MODULES, N_PIXELS)
_TAGS = (N_MODULES, 2)

MESSAGE_A: np.dtype[np.void] = np.dtype(
    [
        ("number", "<u8"),
        ("time_ns", "<u8"),
        ("data", "<f8", _DATA),
        ("timestamps", "<u8", _TAGS),
    ]
)
"""Generation A, 16912 bytes: SSDAQ 0.7 and 0.8."""

MESSAGE_B: np.dtype[np.void] = np.dtype(
    [
        ("number", "<u8"),
        ("time_ns", "<u8"),
        ("arrived_s", "<u8"),
        ("arrived_rest_ns", "<u8"),
        ("data", "<f8", _DATA),
    ]
)
"""Generation B, 16416 bytes: SSDAQ 0.9 and later."""

MESSAGE_OLD: np.dtype[np.void] = np.dtype(
    [
        ("number", "<u8"),
        ("run", "<u8"),
        ("time_ns", "<u8"),
        ("data", "<f8", _DATA),
        ("timestamps", "<u8", _TAGS),
    ]
)
"""SSDAQ before 0.7, 16920 bytes; only read."""

READOUT: np.dtype[np.void] = np.dtype([*MESSAGE_A.descr, ("arrived_ns", "<u8")])
"""A readout inside: the bytes of generation A's message, then when it arrived, ns since 1970, UTC.

``number`` counts readouts from 1. ``time_ns`` is the time tag (TACK) of the block that opened it. ``data``
is (module, pixel) in mV; the row of a missing module is NaN. ``timestamps`` is (module, 2): time tags of
the primary and auxiliary board, 0 and 0 where the module is missing; 0 everywhere where the message did
not say.
"""

_NS = 10**9


def new(n: int) -> NDArray[np.void]:
    """Return (n,) readouts of which nothing has come."""
    readouts = np.zeros(n, READOUT)
    readouts["data"] = np.nan
    return readouts


def encode(readouts: NDArray[np.void], generation: Generation = "A") -> list[memoryview]:
    """Return the message of each readout; those of generation A lie in the memory of the readouts.

    Parameters
    ----------
    readouts:
        (readout,) of `READOUT`.
    """
    readouts = np.ascontiguousarray(readouts)
    if generation == "A":
        rows = readouts.view(np.uint8).reshape(len(readouts), READOUT.itemsize)
        return [row.data[: MESSAGE_A.itemsize] for row in rows]
    messages = np.empty(len(readouts), MESSAGE_B)
    for name in ("number", "time_ns", "data"):
        messages[name] = readouts[name]
    messages["arrived_s"], messages["arrived_rest_ns"] = np.divmod(readouts["arrived_ns"], np.uint64(_NS))
    return [row.data for row in messages.view(np.uint8).reshape(len(messages), MESSAGE_B.itemsize)]


_BY_SIZE: Mapping[int, np.dtype[np.void]] = {one.itemsize: one for one in (MESSAGE_A, MESSAGE_B, MESSAGE_OLD)}


def decode(messages: Sequence[bytes | memoryview]) -> NDArray[np.void]:
    """Return the readouts of messages of any generation, told by their size; (message,) of `READOUT`.

    Raises
    ------
    WireError
        If one of them is of no size that a message has.
    """
    readouts = np.zeros(len(messages), READOUT)
    for i, message in enumerate(messages):
        kind = _BY_SIZE.get(memoryview(message).nbytes)
        if kind is None:
            sizes = ", ".join(map(str, sorted(_BY_SIZE)))
            raise WireError(
                f"A readout has {sizes} bytes, this message {memoryview(message).nbytes}.",
                "Subscribe to a publisher of readouts.",
            )
        found = np.frombuffer(message, kind)
        for name in ("number", "time_ns", "data"):
            readouts[name][i] = found[name][0]
        if kind is MESSAGE_B:
            seconds, rest = int(found["arrived_s"][0]), int(found["arrived_rest_ns"][0])
            readouts["arrived_ns"][i] = min(seconds * _NS + rest, 2**64 - 1)
        else:
            readouts["timestamps"][i] = found["timestamps"][0]
    return readouts


def present(readouts: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which modules of which readouts came, (readout, module)."""
    there: NDArray[np.bool_] = np.logical_or.reduce(readouts["timestamps"] != 0, axis=2)
    if not there.all():  # missing, or of a message without the modules' time tags
        there |= ~np.isnan(readouts["data"]).all(axis=2)
    return there


def to_events(readouts: NDArray[np.void], source: str) -> list[Event]:
    """Return readouts as events: the time tag is the pulse id, a module is one packet.

    The arrays are ``data`` and ``timestamps`` as in `READOUT`, and ``number``, (); they lie in the memory
    of the readouts.

    Raises
    ------
    WireError
        If a time tag is no pulse id: 2**63 or more.
    """
    if len(readouts) and int(readouts["time_ns"].max()) >= 2**63:
        raise WireError("A readout has a time tag of 2**63 ns or more, which is no pulse id.")
    missing = (~present(readouts)).astype(np.uint32)
    return [
        Event(
            source,
            int(one["time_ns"]),
            int(one["arrived_ns"]),
            {"data": one["data"], "timestamps": one["timestamps"], "number": one["number"]},
            missing[i],
            1,
        )
        for i, one in enumerate(readouts)
    ]


def from_events(events: Sequence[Event]) -> NDArray[np.void]:
    """Return the readouts of events that `to_events` made; (event,) of `READOUT`.

    Raises
    ------
    WireError
        If an event has no such arrays.
    """
    readouts = np.zeros(len(events), READOUT)
    for row, event in zip(readouts, events, strict=True):
        row["time_ns"] = event.pulse_id
        row["arrived_ns"] = max(0, event.time_ns)
        for name, shape in (("data", _DATA), ("timestamps", _TAGS), ("number", ())):
            row[name] = _array(event, name, shape)
    return readouts


def _array(event: Event, name: str, shape: tuple[int, ...]) -> Array:
    if name not in event.arrays or np.shape(event.arrays[name]) != shape:
        raise WireError(f"Event {event.pulse_id} of {event.source} is no readout: it has no {name} {shape}.")
    return event.arrays[name]
