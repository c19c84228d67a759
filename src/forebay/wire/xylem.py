"""Frames of xylem, the protocol between the components of larpix-daq: JSON behind a word for its kind.

Source: xylem-daq 0.3.2. Both generations of larpix-daq have these frames; they differ in ports and names.
Members that only we send are optional and left alone by the original: `Register.confirms`, the instance of a
`Ping` (a second frame), the transition and run of `StateUpdate`, `StateReport`, and whatever is in the `more`
of a message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from forebay.errors import WireError

STATES: Final = ("STOP", "READY", "RUN")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
BEGINNING, ENDING = "Beginning run", "Ending run"
"""INFO texts that mark a run in the flow of data."""

Frame = bytes | memoryview


class Register(msgspec.Struct, frozen=True):
    """A component says who it is.

    Attributes
    ----------
    confirms:
        Whether it answers every state with a `StateReport`.
    instance:
        Of its process: one that registers again is known by it. Empty for the original.
    """

    name: str
    short_name: str
    heartbeat_ms: int | float = 1000
    connections: list[str] = []
    addresses: dict[str, str] = {}
    actions: dict[str, Any] = {}
    confirms: bool = False
    instance: str = ""


class Registered(msgspec.Struct, frozen=True):
    """The core knows a component; group -> address of each connection, or `{}` while it is not known."""

    addresses: dict[str, Any]


class Refused(msgspec.Struct, frozen=True):
    """The core does not take a component."""

    reason: str


class Ping(msgspec.Struct, frozen=True):
    """A component lives; `instance` as in its `Register`: a core that is new sees who can register again."""

    instance: str = ""


class Pong(msgspec.Struct, frozen=True):
    """The core lives, and knows the component."""


class StateRequest(msgspec.Struct, frozen=True):
    """A component asks for the state."""


class StateUpdate(msgspec.Struct, frozen=True):
    """The core says the state, of which transition, and the number of the run."""

    UPDATE: str
    transition: int | None = None
    run: int | None = None


class StateReport(msgspec.Struct, frozen=True):
    """A component has done what a state asks for, or (`failed`) cannot; `account` says what it did."""

    state: str
    transition: int | None = None
    failed: str = ""
    account: dict[str, Any] = {}


class Action(msgspec.Struct, frozen=True):
    """The core asks a component to do something."""

    id: int
    name: str
    params: list[Any] = []


class ActionResult(msgspec.Struct, frozen=True):
    """What came of an action."""

    id: int
    name: str
    params: Any
    result: Any


class Control(msgspec.Struct, frozen=True):
    """A request of an operator, or an answer to one; `more` holds further members, e.g. `who`."""

    header: str
    message: Any
    more: dict[str, Any] = {}


class Data(msgspec.Struct, frozen=True):
    """A packet block and what its producer says of it: `name`, `timestamp` and more."""

    header: dict[str, Any]
    payload: bytes


class Info(msgspec.Struct, frozen=True):
    """A text in the flow of data; `more` holds further members of its header."""

    timestamp: float
    component: str
    text: str
    more: dict[str, Any] = {}


class Log(msgspec.Struct, frozen=True):
    """A line for the log; `level` is one of `LEVELS`."""

    timestamp: float
    component: str
    level: str
    text: str


Message = (
    Register
    | Registered
    | Refused
    | Ping
    | Pong
    | StateRequest
    | StateUpdate
    | StateReport
    | Action
    | ActionResult
    | Control
    | Data
    | Info
    | Log
)


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"What is to be sent cannot be written as JSON: {error}.") from error


def _struct(message: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def encode(message: Message) -> list[bytes]:
    """Return the frames of a message; `WireError` if something in it cannot be written as JSON."""
    match message:
        case Register():
            ours = {name: one for name in ("confirms", "instance") if (one := getattr(message, name))}
            body = {
                name: one for name, one in _struct(message).items() if name not in ("confirms", "instance")
            }
            return [b"NEW", _json(body | ours)]
        case Registered(addresses):
            return [b"SUCCESS", _json(addresses)]
        case Refused():
            return [b"FAILURE", _json(_struct(message))]
        case Ping(instance):
            return [b"PING", instance.encode()] if instance else [b"PING"]
        case Pong():
            return [b"PONG"]
        case StateRequest():
            return [b"STATE", b"REQUEST"]
        case StateUpdate():
            return [b"STATE", _json({name: one for name, one in _struct(message).items() if one is not None})]
        case StateReport():
            return [b"STATE", _json(_struct(message))]
        case Action() | ActionResult():
            return [b"ACTION", _json(_struct(message))]
        case Control(header, body, more):
            return [b"CONTROLLER MESSAGE", _json({**more, "header": header, "message": body})]
        case Data(header, payload):
            return [b"DATA", _json(header), payload]
        case Info(timestamp, component, text, more):
            return [b"INFO", _json({**more, "timestamp": timestamp, "component": component}), _json(text)]
        case Log(timestamp, component, level, text):
            header = {"timestamp": timestamp, "component": component, "level": level}
            return [b"LOG", _json(header), _json(text)]


def _load(frame: Frame) -> Any:
    try:
        return json.loads(bytes(frame))
    except (ValueError, RecursionError) as error:
        raise WireError(f"A frame of xylem is no JSON: {bytes(frame[:40])!r}.") from error


def _convert(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise WireError(f"A frame of xylem is no {kind.__name__}: {error}.") from error


class _Header(msgspec.Struct):
    timestamp: float
    component: str
    level: str = ""


def _state(frame: Frame) -> Message:
    if frame == b"REQUEST":
        return StateRequest()
    body = _load(frame)
    kind = StateUpdate if isinstance(body, dict) and "UPDATE" in body else StateReport
    message: Message = _convert(body, kind)
    return message


def _control(frame: Frame) -> Control:
    body = _load(frame)
    if not isinstance(body, dict) or not isinstance(body.get("header"), str) or "message" not in body:
        raise WireError("A controller message has no header and message.")
    return Control(body.pop("header"), body.pop("message"), body)


def _said(kind: bytes, head: Frame, text_frame: Frame) -> Message:
    header, text = _load(head), _load(text_frame)
    known = _convert(header, _Header)
    if not isinstance(text, str):
        raise WireError("A text of xylem is none.")
    if kind == b"LOG":
        if known.level not in LEVELS:
            raise WireError(f"A log line has level {known.level!r}; there are {', '.join(LEVELS)}.")
        return Log(known.timestamp, known.component, known.level, text)
    more = {name: one for name, one in header.items() if name not in ("timestamp", "component")}
    return Info(known.timestamp, known.component, text, more)


_SIZES = {
    b"NEW": 2,
    b"SUCCESS": 2,
    b"FAILURE": 2,
    b"PING": 1,
    b"PONG": 1,
    b"STATE": 2,
    b"ACTION": 2,
    b"CONTROLLER MESSAGE": 2,
    b"DATA": 3,
    b"INFO": 3,
    b"LOG": 3,
}


def decode(frames: Sequence[Frame]) -> Message:
    """Return the message of frames, without the identity that a router puts before them.

    Raises
    ------
    WireError
        If it is none: of no known word, with too many or too few frames, no JSON, or members missing.
    """
    kind = bytes(frames[0]) if frames else b""
    if kind == b"PING" and len(frames) == 2 and len(frames[1]):
        return Ping(bytes(frames[1]).decode("utf-8", "replace"))
    if len(frames) != _SIZES.get(kind):
        raise WireError(f"{len(frames)} frames that begin with {kind[:20]!r} are no message of xylem.")
    if kind == b"PING":
        return Ping()
    if kind == b"PONG":
        return Pong()
    if kind == b"STATE":
        return _state(frames[1])
    if kind == b"CONTROLLER MESSAGE":
        return _control(frames[1])
    if kind in (b"INFO", b"LOG"):
        return _said(kind, frames[1], frames[2])
    body = _load(frames[1])
    if kind == b"DATA":
        return Data(_convert(body, dict[str, Any]), bytes(frames[2]))
    if kind == b"SUCCESS":
        return Registered(_convert(body, dict[str, Any]))
    result: Message
    if kind == b"ACTION":
        result = _convert(body, ActionResult if isinstance(body, dict) and "result" in body else Action)
    else:
        result = _convert(body, Register if kind == b"NEW" else Refused)
    return result
