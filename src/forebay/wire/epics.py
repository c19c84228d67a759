"""What an update of a process variable is, and how many of them lie in one record of a disk ring.

A record has three parts:

* JSON: ``format`` (``forebay-pvs/1``), ``names``, ``statuses`` (alarm names) and ``types`` (``type``, as in
  `forebay.wire.dtype` or ``"text"``, and ``shape``): each only once a record,
* the updates, an array of `ROW`, which points into these lists,
* their values one after the other, little endian; text as JSON, a string or a list of strings.

An update without a value (its channel is disconnected) has ``i_type`` -1 and no bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.event import Array
from forebay.wire.dtype import from_text

INVALID: Final = 3
"""Alarm severity of a value that is not to be trusted; 0 no alarm, 1 minor, 2 major."""

UNKNOWN: Final = "unknown"
"""Alarm status of a channel that is disconnected."""

TEXT: Final = "text"

ROW: Final = np.dtype(
    [
        ("received_ns", "<i8"),  # when it came to us, ns since 1970; grows from update to update
        ("timestamp_ns", "<i8"),  # as the server stamped it; of a disconnection when we noticed it
        ("i_name", "<u4"),
        ("i_type", "<i4"),
        ("n_bytes", "<u4"),
        ("i_status", "<u2"),
        ("severity", "u1"),
        ("connected", "?"),
    ]
)

MAX_UPDATES: Final = 1_000_000
MAX_DIMENSIONS: Final = 8


class Update(NamedTuple):
    """What a channel told once; a tuple because many thousands are made a second.

    `value` is an array of numbers (a scalar has the shape ``()``) or of text (kind ``U``), None of a
    channel that is disconnected. Times and `severity` as in `ROW`.
    """

    name: str
    received_ns: int
    timestamp_ns: int
    connected: bool
    status: str
    severity: int
    value: Array | None


def disconnected(name: str, now_ns: int) -> Update:
    """Return the update of a channel that is not, or no longer, connected."""
    return Update(name, now_ns, now_ns, False, UNKNOWN, INVALID, None)


class _Type(msgspec.Struct, frozen=True):
    type: Annotated[str, msgspec.Meta(max_length=16)]
    shape: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)], ...], msgspec.Meta(max_length=MAX_DIMENSIONS)
    ]

    def __str__(self) -> str:
        return f"{self.type}{list(self.shape)}" if self.shape else self.type


class _Header(msgspec.Struct, tag_field="format", tag="forebay-pvs/1", frozen=True):
    names: tuple[str, ...]
    statuses: tuple[str, ...]
    types: tuple[_Type, ...]


_decoder = msgspec.json.Decoder(_Header)
_text = msgspec.json.Decoder(str | list[Any])


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Updates of one record: `rows` (update,) of `ROW`, and the lists and bytes that they point into."""

    names: tuple[str, ...]
    statuses: tuple[str, ...]
    types: tuple[_Type, ...]
    rows: NDArray[Any]
    values: NDArray[np.uint8]

    def updates(self) -> list[Update]:
        """Return them one by one: slow, for few."""
        ends = np.cumsum(self.rows["n_bytes"], dtype=np.int64).tolist()
        out = []
        for row, end in zip(self.rows, ends, strict=True):
            i_type, raw = int(row["i_type"]), self.values[end - int(row["n_bytes"]) : end]
            out.append(
                Update(
                    self.names[row["i_name"]],
                    int(row["received_ns"]),
                    int(row["timestamp_ns"]),
                    bool(row["connected"]),
                    self.statuses[row["i_status"]],
                    int(row["severity"]),
                    None if i_type < 0 else value_of(self.types[i_type].type, self.types[i_type].shape, raw),
                )
            )
        return out


def value_of(kind: str, shape: tuple[int, ...], raw: NDArray[np.uint8]) -> Array:
    """Return one value from its bytes; `WireError` if text is none."""
    if kind != TEXT:
        return raw.view(from_text(kind)).reshape(shape)
    try:
        array = np.array(_text.decode(raw.tobytes()), np.str_)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise WireError(f"The text of a process variable cannot be read: {error}.") from error
    return array.reshape(shape) if not array.size else array


def encode(updates: Sequence[Update]) -> list[bytes]:
    """Return the three parts of one record.

    Raises
    ------
    WireError
        If there are none, more than `MAX_UPDATES`, or a value is neither number nor text.
    """
    if not 0 < len(updates) <= MAX_UPDATES:
        raise WireError(f"A record holds 1 to {MAX_UPDATES} updates, not {len(updates)}.")
    names: dict[str, int] = {}
    statuses: dict[str, int] = {}
    types: dict[tuple[str, tuple[int, ...]], int] = {}
    rows, values = [], []
    for name, received_ns, timestamp_ns, connected, status, severity, value in updates:
        i_type, raw = -1, b""
        if value is not None:
            kind, raw = _packed(name, value)
            i_type = types.setdefault((kind, value.shape), len(types))
        values.append(raw)
        i_name = names.setdefault(name, len(names))
        i_status = statuses.setdefault(status, len(statuses))
        rows.append((received_ns, timestamp_ns, i_name, i_type, len(raw), i_status, severity, connected))
    try:
        packed = np.array(rows, ROW)
    except (OverflowError, ValueError) as error:
        raise WireError(f"A number of an update is out of bounds: {error}.") from error
    header = _Header(tuple(names), tuple(statuses), tuple(_Type(*one) for one in types))
    try:
        return [msgspec.json.encode(header), packed.tobytes(), b"".join(values)]
    except UnicodeEncodeError as error:
        raise WireError(f"A name of a process variable is no text: {error}.") from error


def decode(parts: Sequence[bytes | memoryview]) -> Batch:
    """Read one record; the memory is that of the parts.

    Raises
    ------
    WireError
        If the parts are not what `encode` makes. Only whether text is text is found out later.
    """
    if len(parts) != 3:
        raise WireError(f"A record of process variables has 3 parts, not {len(parts)}.")
    try:
        header = _decoder.decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"The header of a record of process variables cannot be read: {error}.") from error
    if len(parts[1]) % ROW.itemsize:
        raise WireError(f"{len(parts[1])} bytes are no rows of {ROW.itemsize} bytes.")
    rows, values = np.frombuffer(parts[1], ROW), np.frombuffer(parts[2], np.uint8)
    n_types = len(header.types)
    sizes = np.zeros(n_types + 1, np.int64)  # the last one is that of i_type -1
    for i, one in enumerate(header.types):
        sizes[i] = (
            -1
            if one.type == TEXT
            else _size(math.prod(one.shape) * from_text(one.type).itemsize, values.size)
        )
    if rows.size and (
        rows["i_name"].max() >= len(header.names)
        or rows["i_status"].max() >= len(header.statuses)
        or rows["i_type"].max() >= n_types
        or rows["i_type"].min() < -1
    ):
        raise WireError("An update points outside the lists of its record.")
    wanted = sizes[rows["i_type"]]
    if ((wanted >= 0) & (wanted != rows["n_bytes"])).any():
        raise WireError("The bytes of a value are not those of its type and shape.")
    if rows["n_bytes"].sum(dtype=np.int64) != values.size:
        raise WireError(f"The values have {values.size} bytes, and their rows say otherwise.")
    return Batch(header.names, header.statuses, header.types, rows, values)


def _size(n_bytes: int, available: int) -> int:
    if n_bytes > available:
        raise WireError(f"A value of {n_bytes} bytes cannot lie in {available}.")
    return n_bytes


def _packed(name: str, value: Array) -> tuple[str, bytes]:
    dtype = value.dtype
    if dtype.kind == "U":
        try:
            return TEXT, msgspec.json.encode(value.tolist())
        except UnicodeEncodeError as error:
            raise WireError(f"The value of {name} is no text: {error}.") from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or value.ndim > MAX_DIMENSIONS:
        raise WireError(f"{name} has values of type {dtype}.", "Numbers and text can be kept.")
    if dtype.byteorder == ">":
        value = value.astype(dtype.newbyteorder("<"))
    return value.dtype.str, value.tobytes()


Protocol = Literal["ca", "pva"]


def split_name(name: str) -> tuple[Protocol, str]:
    """Return how a PV is reached and its name there: ``pva://X`` by pvAccess, ``X`` or ``ca://X`` by CA."""
    if name.startswith("pva://"):
        return "pva", name.removeprefix("pva://")
    return "ca", name.removeprefix("ca://")
