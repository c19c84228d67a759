"""Messages as AMQP carries them: the body is JSON, the id is the correlation id, as clients at PSI do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from pamqp import decode

from forebay.errors import BusError
from forebay.ports import Message
from forebay.run.bus.text import decode_body, encode_body, stamped

TIME = "time_ns"
KEY = "forebay-key"
AGAIN = "forebay-again"
_SECONDS = 10**11
"""Larger times are counted in something smaller than seconds."""

_OURS = (TIME, KEY, AGAIN, "x-death", "x-delivery-count")


def _timestamp(value: bytes) -> tuple[int, datetime]:
    """Decode a time of AMQP, also one that is counted in ms, us or ns instead of seconds."""
    time = float(int.from_bytes(value[:8], "big"))
    while time > _SECONDS:
        time /= 1000
    return 8, datetime.fromtimestamp(time, UTC)


# The broker of SwissFEL writes nanoseconds; the library's decoder fails at them, and with it the connection,
# again and again, because the broker delivers that message again.
decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp


def to_amqp(message: Message, **properties: object) -> aio_pika.Message:
    """Return the AMQP form of a message, persistent; `BusError` if it has none.

    Time goes into the header ``time_ns``, and in whole seconds into the property that AMQP has for it.
    """
    message = stamped(message)
    return aio_pika.Message(
        encode_body(message),
        correlation_id=message.id,
        headers={**message.headers, TIME: message.time_ns},
        timestamp=datetime.fromtimestamp(message.time_ns // 10**9, UTC),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        **properties,  # type: ignore[arg-type]
    )


def from_amqp(found: AbstractIncomingMessage) -> Message:
    """Return a message, ours or of another client; headers that are no texts are written as such.

    Raises
    ------
    BusError
        If its body is not a JSON object, or it has no correlation id.
    """
    if not found.correlation_id:
        raise BusError(
            f"A message for {found.routing_key!r} has no correlation id.",
            "Its sender must name each request.",
        )
    headers = {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for name, value in found.headers.items()
        if value is not None and name not in _OURS
    }
    message = Message(_key(found), found.correlation_id, decode_body(found.body), headers)
    match found.headers.get(TIME), found.timestamp:
        case int(time_ns), _:
            return replace(message, time_ns=time_ns)
        case _, datetime() as time:
            return replace(message, time_ns=int(time.timestamp()) * 10**9)
    return message


def is_again(found: AbstractIncomingMessage) -> bool:
    """Return whether a worker may have had this request before."""
    return bool(found.redelivered) or any(
        found.headers.get(name) for name in ("x-death", "x-delivery-count", AGAIN)
    )


def copy_of(found: AbstractIncomingMessage) -> aio_pika.Message:
    """Return the same message for another queue, from where it comes back with its key."""
    return aio_pika.Message(
        found.body,
        correlation_id=found.correlation_id,
        headers={**found.headers, KEY: _key(found), AGAIN: 1},
        content_type=found.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def _key(found: AbstractIncomingMessage) -> str:
    kept = found.headers.get(KEY)
    return kept if isinstance(kept, str) else (found.routing_key or "")
