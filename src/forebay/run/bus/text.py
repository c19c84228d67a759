"""Messages as bytes: JSON, with checked keys, ids and sizes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import msgspec

from forebay.errors import BusError
from forebay.ports import Message

MAX_MESSAGE_BYTES = 8 * 2**20
"""Largest body of a message as JSON: a million pulse ids with their commas."""

MAX_WORD_BYTES = 200
"""Longest key, id, queue or pattern: AMQP has room for 255, and we add a little."""

_ENCODER = msgspec.json.Encoder()
_MESSAGE = msgspec.json.Decoder(Message)
_BODY = msgspec.json.Decoder(dict[str, Any])


def check_word(what: str, text: str) -> None:
    """Refuse a key, id, queue or pattern that is longer than AMQP allows; `BusError`."""
    if (n_bytes := len(text.encode())) > MAX_WORD_BYTES:
        raise BusError(
            f"The {what} {text[:40]!r}... of a message has {n_bytes} bytes; {MAX_WORD_BYTES} are allowed.",
            f"Use a shorter {what}.",
        )


def stamped(message: Message) -> Message:
    """Return the message with a time, and its key and id checked.

    Raises
    ------
    BusError
        If the key or the id is too long, or the id is empty.
    """
    check_word("key", message.key)
    check_word("id", message.id)
    if not message.id:
        raise BusError(f"A message for {message.key!r} has no id.", "Give each request an id of its own.")
    return message if message.time_ns else replace(message, time_ns=time.time_ns())


def encode_message(message: Message) -> bytes:
    """Return a whole message as JSON.

    Raises
    ------
    BusError
        As `stamped`, and if JSON cannot say it or it is longer than `MAX_MESSAGE_BYTES`.
    """
    return _encode(message.key, stamped(message))


def encode_body(message: Message) -> bytes:
    """Return the body as JSON; an empty body is no bytes at all. `BusError` as of `encode_message`."""
    return _encode(message.key, dict(message.body)) if message.body else b""


def _encode(key: str, value: object) -> bytes:
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BusError(
            f"The message for {key!r} cannot be said in JSON: {error}.",
            "Use texts, numbers, lists and mappings.",
        ) from error
    if len(text) > MAX_MESSAGE_BYTES:
        raise BusError(
            f"The message for {key!r} has {len(text)} bytes; {MAX_MESSAGE_BYTES} are allowed.",
            "Write large things to a file and send its path, or split the request.",
        )
    return text


def decode_message(text: bytes) -> Message:
    """Read what `encode_message` wrote; `BusError` for anything else."""
    try:
        return _MESSAGE.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BusError(f"A message of {len(text)} bytes is not one of ours: {error}.") from error


def decode_body(text: bytes) -> dict[str, Any]:
    """Read a JSON object; no bytes are an empty one. `BusError` for anything else."""
    try:
        return _BODY.decode(text) if text else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BusError(f"A body of {len(text)} bytes is not a JSON object: {error}.") from error
