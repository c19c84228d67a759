"""What client and hub of the embedded bus say to each other: one msgpack struct each way.

A client says `Said`; the hub answers each with `Done` of the same number, and says `Handed`, `Told`, `Called`
and `Answered` by itself. A client that hears no answer says the same again with the same number; the hub does
it once. Messages travel as the JSON that `forebay.run.bus.text` makes, unread by the hub.
"""

from __future__ import annotations

import msgspec

MAX_FRAME_BYTES = 9 * 2**20
"""Largest frame: a message and what is around it. ZeroMQ breaks the connection of who sends more."""

SOCKET = "bus"
"""Name of the hub's socket in the runtime directory."""


class _Word(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of everything said: a tagged array."""


class Ping(_Word, frozen=True):
    """Ask whether the hub is there."""


class Request(_Word, frozen=True):
    """Queue a message; `token` names this very call, also after a restart of the hub."""

    token: str
    key: str
    id: str
    message: bytes


class Declare(_Word, frozen=True):
    """Make a queue and add patterns to it."""

    queue: str
    patterns: list[str]


class Take(_Word, frozen=True):
    """End `end` of this client wants the next request of a queue."""

    queue: str
    end: int


class Ack(_Word, frozen=True):
    """A request is done: which one, and in whose hand."""

    end: int
    seq: int


class Reject(_Word, frozen=True):
    """A request is given back."""

    end: int
    seq: int
    requeue: bool


class Withdraw(_Word, frozen=True):
    """Take a request that nobody has in hand out of its queue."""

    token: str
    queue: str
    id: str


class Tell(_Word, frozen=True):
    """Fan a message out on a channel: ``status`` or ``kill``."""

    channel: str
    key: str
    message: bytes


class Listen(_Word, frozen=True):
    """Send to `end` what is told on a channel under keys of a pattern.

    `again` is said to a hub that was started anew: what it has told so far comes first.
    """

    end: int
    channel: str
    pattern: str
    again: bool = False


class Answer(_Word, frozen=True):
    """End `end` answers calls for a key."""

    end: int
    key: str


class Call(_Word, frozen=True):
    """Pass a call on to who answers for its key."""

    key: str
    message: bytes


class Reply(_Word, frozen=True):
    """The answer to call `n` of client `caller`."""

    caller: bytes
    n: int
    message: bytes


class Leave(_Word, frozen=True):
    """Forget an end; what it has in hand goes back to its queue. End 0 is all of this client."""

    end: int


Word = (
    Ping | Request | Declare | Take | Ack | Reject | Withdraw | Tell | Listen | Answer | Call | Reply | Leave
)


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What a client says, and under which number."""

    n: int
    word: Word


class Done(_Word, frozen=True):
    """Word `n` is done.

    Attributes
    ----------
    session:
        Drawn by the hub when it starts: another one means that it has forgotten who listens.
    yes:
        What was asked: whether a request was withdrawn.
    refused:
        Empty, or ``no worker``, ``gone`` or ``error``; `reason` and `todo` say more.
    """

    n: int
    session: str
    yes: bool = True
    refused: str = ""
    reason: str = ""
    todo: str = ""


class Handed(_Word, frozen=True):
    """A request for end `end`."""

    end: int
    seq: int
    redelivered: bool
    message: bytes


class Told(_Word, frozen=True):
    """A fanned-out message; `i` counts from 0 at each end."""

    end: int
    i: int
    message: bytes


class Called(_Word, frozen=True):
    """A call for end `end`."""

    end: int
    caller: bytes
    n: int
    message: bytes


class Answered(_Word, frozen=True):
    """The answer to call `n`."""

    n: int
    message: bytes


Heard = Done | Handed | Told | Called | Answered

encode = msgspec.msgpack.Encoder().encode
decode_said = msgspec.msgpack.Decoder(Said).decode
decode_heard = msgspec.msgpack.Decoder(Heard).decode
