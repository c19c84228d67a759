"""Messages of the camera's other streams: triggers' time stamps, logs, monitoring, the telescope's pointing.

They are protobuf (version 2) of the packages ``CTA.ACTL.CDTS`` and ``chec``, as SSDAQ 0.9 has them. A message
is a dictionary here, by the names of its fields; a field that is not sent is not in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from forebay.errors import WireError

Message = Mapping[str, Any]
Kind = Literal["signed", "unsigned", "bool", "fixed64", "float", "text", "message", "messages", "packed"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE: Final[Mapping[str, int]] = {
    "signed": _VARINT,
    "unsigned": _VARINT,
    "bool": _VARINT,
    "fixed64": _FIXED64,
    "float": _FIXED32,
}
_MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; `schema` is that of a message inside."""

    name: str
    kind: Kind
    schema: Schema | None = None
    is_required: bool = False


Schema = Mapping[int, Field]
"""Number -> field."""


def _table(*fields: tuple[int, str, Kind] | tuple[int, str, Kind, Schema], required: str = "") -> Schema:
    needed = required.split()
    return {
        number: Field(name, kind, rest[0] if rest else None, name in needed)
        for number, name, kind, *rest in fields
    }


TIME_STAMP: Final = _table(
    (1, "seconds", "unsigned"),
    (2, "pico_seconds", "unsigned"),
    (3, "index", "unsigned"),
    (4, "tai_hi", "unsigned"),
    (5, "tai_lo", "unsigned"),
    (6, "cyc", "unsigned"),
    (7, "tdc_hi", "unsigned"),
    (8, "tdc_lo", "unsigned"),
)
TRIGGER_MESSAGE: Final = _table(
    (1, "telescope", "unsigned"),
    (2, "event_counter", "unsigned"),
    (3, "pps_counter", "unsigned"),
    (4, "clock_counter", "unsigned"),
    (5, "time", "message", TIME_STAMP),
    (
        6,
        "type",
        "signed",
    ),  # 1 readout, 2 busy, 3 soft, 4 external, 5 flat field, 6 single pe, 7 pedestal, 8 muon
    (7, "status", "signed"),
    (8, "pattern", "fixed64"),
)
TRIGGER_BUNCH: Final = _table(
    (1, "telescope", "unsigned"),
    (2, "bunch_counter", "unsigned"),
    (3, "triggers", "messages", TRIGGER_MESSAGE),
    (4, "arrival_time", "message", TIME_STAMP),
)
TIME_UTC: Final = _table((1, "sec", "signed"), (2, "nsec", "signed"))
LOG: Final = _table(
    (1, "systemType", "signed"),
    (2, "severity", "signed"),
    (3, "sender", "text"),
    (4, "message", "text"),
    (5, "time", "signed"),
    (6, "pid", "signed"),
    (7, "sourceFile", "text"),
    (8, "line", "signed"),
    (9, "position", "text"),
    (10, "geoid", "text"),
    (11, "seqid", "signed"),
    (12, "cameraPcTime", "signed"),
    required="systemType severity sender message time pid sourceFile line",
)
_RECEIVER: Final = _table(
    (1, "name", "text"),
    (2, "pid", "signed"),
    (3, "recv_data", "bool"),
    (4, "data_rate", "float"),
    (5, "from_tm", "packed"),
    required="name",
)
MONITOR: Final = _table(
    (1, "time", "message", TIME_UTC),
    (16, "reciver", "message", _RECEIVER),  # so spelt
    required="time",
)
TELESCOPE: Final = _table(
    (1, "time", "message", TIME_UTC), (2, "ra", "float"), (3, "dec", "float"), required="time"
)


def wire_type(kind: Kind) -> int:
    """Return how a kind lies on the wire: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes."""
    return _WIRE.get(kind, _BYTES)


def decode(schema: Schema, data: bytes, depth: int = 0) -> dict[str, Any]:
    """Read a message; fields that the schema does not have are passed over.

    Raises
    ------
    WireError
        If the bytes are no such message, or a field that must be there is not.
    """
    if depth > _MOST_DEPTH:
        raise WireError(f"A message has more than {_MOST_DEPTH} others inside each other.")
    found: dict[str, Any] = {}
    for number, wire, value in _fields(data):
        field = schema.get(number)
        if field is None:
            continue
        if wire != wire_type(field.kind):
            raise WireError(f"Field {field.name} of a message is of wire type {wire}.")
        one = _value(field, value, depth)
        if field.kind == "messages":
            found.setdefault(field.name, []).append(one)
        else:
            found[field.name] = one
    for field in schema.values():
        if field.is_required and field.name not in found:
            raise WireError(f"A message lacks its field {field.name}.")
    return found


def _value(field: Field, value: Any, depth: int) -> Any:
    match field.kind:
        case "signed":
            return value - 2**64 if value >= 2**63 else value
        case "bool":
            return bool(value)
        case "fixed64":
            return struct.unpack("<Q", value)[0]
        case "float":
            return struct.unpack("<f", value)[0]
        case "text":
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise WireError(f"Field {field.name} of a message is no text.") from error
        case "message" | "messages":
            return decode(field.schema or {}, value, depth + 1)
        case "packed":
            return _packed(value)
        case _:
            return value


def _packed(data: bytes) -> list[int]:
    found, position = [], 0
    while position < len(data):
        one, position = _varint(data, position)
        found.append(one)
    return found


def parts(data: bytes, number: int) -> list[bytes]:
    """Return the bytes of every message that field `number` holds, as they lie.

    ``parts(bunch, 3)`` are the trigger messages of a bunch. Raises as `decode`.
    """
    return [value for n, wire, value in _fields(data) if n == number and wire == _BYTES]


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, wire, value
            continue
        n = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
        if wire == _BYTES:
            n, position = _varint(data, position)
        if n < 0 or position + n > len(data):
            raise WireError(f"Field {number} of a message is cut short, or of wire type {wire}.")
        yield number, wire, data[position : position + n]
        position += n


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value % 2**64, position
    raise WireError("A number in a message has no end.")


def encode(schema: Schema, message: Message) -> bytes:
    """Return the bytes of a message, fields in the order of their numbers.

    Raises
    ------
    WireError
        If it has a field that the schema does not have, or lacks one that must be there.
    """
    names = {field.name for field in schema.values()}
    if unknown := [name for name in message if name not in names]:
        raise WireError(f"A message has no field {unknown[0]!r}.", f"Fields are {', '.join(sorted(names))}.")
    out = []
    for number, field in sorted(schema.items()):
        if field.name in message:
            values = message[field.name] if field.kind == "messages" else [message[field.name]]
            out += [_encoded(number, field, value) for value in values]
        elif field.is_required:
            raise WireError(f"A message lacks its field {field.name}.")
    return b"".join(out)


def _encoded(number: int, field: Field, value: Any) -> bytes:
    wire = wire_type(field.kind)
    head = _number(number << 3 | wire)
    match field.kind:
        case "signed" | "unsigned" | "bool":
            return head + _number(int(value))
        case "fixed64":
            return head + struct.pack("<Q", value)
        case "float":
            return head + struct.pack("<f", value)
        case "text":
            body = str(value).encode()
        case "packed":
            body = b"".join(map(_number, value))
        case _:
            body = encode(field.schema or {}, value)
    return head + _number(len(body)) + body


def _number(value: int) -> bytes:
    value %= 2**64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
