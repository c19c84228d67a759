"""bsread streams on the network: what sources send comes in, what consumers of the original read goes out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Literal

import zmq

from forebay.errors import ConfigError, WireError
from forebay.event import Event
from forebay.stream.socket import Socket
from forebay.wire.bsread import HeaderCache, decode

Mode = Literal["pull", "sub"]

INPUT_HWM: Final = 100
OUTPUT_HWM: Final = 10
"""Messages that may wait, as psi-bsread's receivers and senders have it."""

MAX_PART_BYTES: Final = 256 * 2**20
"""Largest frame that is taken: a camera of 128 million 16-bit pixels."""

MAX_PARTS: Final = 2 + 2 * 100_000
"""Frames of a message with 100 000 channels; those of more are malformed."""

DEFAULT_PORT: Final = 9999
_MOST = 256
_KINDS = {"pull": zmq.PULL, "sub": zmq.SUB, "push": zmq.PUSH, "pub": zmq.PUB}


def address(text: str) -> str:
    """Return a stream's address with what people leave out: ``tcp://`` and the port 9999.

    Raises
    ------
    ConfigError
        If it is no address.
    """
    transport, mark, rest = text.partition("://")
    if not mark:
        transport, rest = "tcp", text
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, str(DEFAULT_PORT)
    if transport != "tcp" or not host or "/" in host or not (port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(
            f"{text!r} is not the address of a stream.", "Write tcp://HOST:PORT, port 1 to 65535."
        )
    return f"tcp://{host}:{port}"


class BsreadInlet:
    """A source of a stream's messages, not decoded beyond their headers; connects, and again for ever.

    Nothing that a sender does gets through: what cannot be read is counted and left out.

    Parameters
    ----------
    endpoint:
        ``tcp://HOST:PORT`` of the sender.
    mode:
        ``pull`` from a PUSH socket, as sources have it, or ``sub`` to a PUB socket, as the dispatcher's
        streams are. A PUB sender drops what a slow receiver does not take.
    hwm:
        Messages that may wait on this side.
    source:
        Name for the events.

    Attributes
    ----------
    counters:
        ``received = events + malformed``; ``bytes`` of all frames; ``header_changes`` between messages.
    last_problem:
        What was wrong with the last malformed message.

    Raises
    ------
    StreamError
        If the endpoint is malformed.
    """

    def __init__(
        self, endpoint: str, mode: Mode = "pull", *, hwm: int = INPUT_HWM, source: str = "bsread"
    ) -> None:
        self._socket = Socket(
            _KINDS[mode],
            endpoint,
            bind=False,
            hwm=hwm,
            public=True,
            max_part_bytes=MAX_PART_BYTES,
            max_parts=MAX_PARTS,
        )
        self._source = source
        self._cache = HeaderCache()
        self._counters = dict.fromkeys(("received", "events", "malformed", "bytes"), 0)
        self.last_problem = ""

    @property
    def counters(self) -> dict[str, int]:
        """See the class."""
        return self._counters | {"header_changes": self._cache.changes}

    def read(self, timeout: float, most: int = _MOST) -> Sequence[Event] | None:
        """Return what has come, at most `most` messages; see `forebay.ports.Source`. None after `close`."""
        if self._socket.closed:
            return None
        events: list[Event] = []
        counters = self._counters
        wait = timeout
        while len(events) < most and (parts := self._socket.receive(wait)) is not None:
            wait = 0.0
            counters["received"] += 1
            counters["bytes"] += sum(map(len, parts))
            try:
                events.append(decode(parts, self._cache, source=self._source, arrived_ns=time.time_ns()))
            except WireError as error:
                counters["malformed"] += 1
                self.last_problem = str(error)
                if counters["malformed"] % most == 0:
                    break  # whoever sends nothing else must not keep the caller from its other duties
        counters["events"] += len(events)
        return events

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._socket.close()


class BsreadOutlet:
    """Sends messages as a source does: PUSH waits for its consumers, PUB for nobody.

    Parameters
    ----------
    endpoint:
        Bound; port ``*`` takes a free one. `public` allows other addresses than loopback.

    Attributes
    ----------
    counters:
        ``sent`` messages, and ``dropped`` ones: nobody took them in time (PUSH).

    Raises
    ------
    StreamError
        If the endpoint is malformed, in use or not to be bound.
    """

    def __init__(
        self,
        endpoint: str,
        mode: Literal["push", "pub"] = "push",
        *,
        hwm: int = OUTPUT_HWM,
        public: bool = False,
    ) -> None:
        self._socket = Socket(_KINDS[mode], endpoint, bind=True, hwm=hwm, public=public)
        self.endpoint = self._socket.endpoint
        self.counters = dict.fromkeys(("sent", "dropped"), 0)

    def send(self, parts: Sequence[bytes | memoryview], timeout: float) -> bool:
        """Send one message whole or not at all; False if nobody took it within `timeout` seconds."""
        taken = self._socket.send(parts, timeout)
        self.counters["sent" if taken else "dropped"] += 1
        return taken

    def close(self, linger: float = 1.0) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        self._socket.close(linger)
