"""ZMTP 3.0, what ZeroMQ speaks on a TCP connection: greeting, READY, frames; the NULL mechanism only."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.errors import WireError

GREETING: Final = b"\xff" + bytes(7) + b"\x01\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""What either side sends first: signature, version 3.0, mechanism, not a server (RFC 23/ZMTP)."""

MAX_BODY_BYTES: Final = 4096
"""Largest frame that a consumer may send: subscriptions and commands are short."""

JOIN_BYTES: Final = 16_384
"""Parts below this are copied into one buffer with their neighbours; larger ones are sent where they lie."""

_MORE, _LONG, _COMMAND = 1, 2, 4
_LONG_HEAD = struct.Struct(">BQ")

Part = bytes | memoryview


class ZmtpFrame(NamedTuple):
    """One frame that came: a command or a part of a message."""

    is_command: bool
    has_more: bool
    body: bytes


def check_greeting(greeting: bytes) -> None:
    """Refuse 64 bytes that are not the greeting of a ZMTP 3 peer without encryption; `WireError`."""
    if greeting[:1] != b"\xff" or greeting[9:10] != b"\x7f":
        raise WireError("The peer does not speak ZeroMQ.")
    if greeting[10] < 3:
        raise WireError(f"The peer speaks ZMTP {greeting[10]}; 3 is needed (libzmq 4 or later).")
    mechanism = greeting[12:32].rstrip(b"\0")
    if mechanism != b"NULL":
        raise WireError(f"The peer wants the mechanism {mechanism.decode(errors='replace')!r}, not NULL.")


def ready(socket_type: str) -> bytes:
    """Return the READY command, with which both sides name their type of socket."""
    return command(b"READY", b"\x0bSocket-Type" + struct.pack(">I", len(socket_type)) + socket_type.encode())


def command(name: bytes, data: bytes) -> bytes:
    """Return a command frame of at most 255 bytes."""
    body = bytes([len(name)]) + name + data
    return bytes([_COMMAND, len(body)]) + body


def split_command(body: bytes) -> tuple[bytes, bytes]:
    """Return name and data of a command; `WireError` if it has no name."""
    if not body or not 0 < body[0] < len(body) + 1 or len(body) < 1 + body[0]:
        raise WireError("A ZMTP command without a name.")
    return body[1 : 1 + body[0]], body[1 + body[0] :]


def socket_type(data: bytes) -> str:
    """Return the socket type in the properties of a READY command; `WireError` if there is none."""
    i = 0
    while i < len(data):
        name = data[i + 1 : i + 1 + data[i]]
        i += 1 + data[i]
        if len(data) < i + 4:
            break
        (n_bytes,) = struct.unpack_from(">I", data, i)
        value = data[i + 4 : i + 4 + n_bytes]
        i += 4 + n_bytes
        if name.lower() == b"socket-type" and len(value) == n_bytes:
            return value.decode("ascii", "replace")
    raise WireError("A READY command without a type of socket.")


def message(parts: Sequence[Part]) -> list[Part]:
    """Return the buffers to send for one message; parts of `JOIN_BYTES` and more are not copied."""
    buffers: list[Part] = []
    small = bytearray()
    last = len(parts) - 1
    for i, part in enumerate(parts):
        n_bytes = len(part)
        more = _MORE if i < last else 0
        if n_bytes < 256:
            small.append(more)
            small.append(n_bytes)
        else:
            small += _LONG_HEAD.pack(more | _LONG, n_bytes)
        if n_bytes < JOIN_BYTES:
            small += part
        else:
            buffers += (bytes(small), part)
            small = bytearray()
    if small:
        buffers.append(bytes(small))
    return buffers


class FrameReader:
    """Cuts a stream of bytes into frames; bounded, because anybody may be at the other end."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[ZmtpFrame]:
        """Return the frames that are whole with these bytes; `WireError` if one is too long or none."""
        buffer = self._left + data
        frames = []
        i = 0
        while len(buffer) >= i + 2:
            flags = buffer[i]
            if flags & ~(_MORE | _LONG | _COMMAND):
                raise WireError(f"A ZMTP frame with flags 0x{flags:02x}.")
            head = _LONG_HEAD.size if flags & _LONG else 2
            if len(buffer) < i + head:
                break
            n_bytes = int.from_bytes(buffer[i + 1 : i + head], "big")
            if n_bytes > MAX_BODY_BYTES:
                raise WireError(f"A consumer sent a frame of {n_bytes} bytes; {MAX_BODY_BYTES} are read.")
            end = i + head + n_bytes
            if len(buffer) < end:
                break
            frames.append(ZmtpFrame(bool(flags & _COMMAND), bool(flags & _MORE), buffer[i + head : end]))
            i = end
        self._left = buffer[i:]
        return frames
