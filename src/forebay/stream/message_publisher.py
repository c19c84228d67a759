"""Messages of any kind to whoever subscribed, as SSDAQ's receivers publish them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Literal, get_args

import zmq

from forebay.errors import ConfigError, StreamError
from forebay.stream.endpoint import endpoint_of
from forebay.stream.socket import Socket

Mode = Literal["local", "outbound", "remote"]

PUBLISHER_COUNTERS = ("offered", "sent", "unwatched", "congested")
"""``offered = sent + unwatched``; ``congested``, at most ``sent``: a subscriber's queue was full."""

_HWM = 10_000  # of small messages; a listener has as many


class MessagePublisher:
    """Sends each message as one frame, as it is, and never waits.

    Parameters
    ----------
    ip, port:
        Where it binds, or the listener does; port ``*`` takes a free one.
    mode:
        ``local`` binds to an address of this computer alone, ``outbound`` to any of its addresses;
        ``remote`` connects to a listener that binds.
    topic:
        Sent as a frame of its own before the message; none if empty, as in the original.

    Raises
    ------
    ConfigError
        If the mode is unknown or the address is none.
    StreamError
        If the address is taken, not ours, or open to other hosts in mode ``local``.

    Attributes
    ----------
    counters:
        By the names of `PUBLISHER_COUNTERS`.
    endpoint:
        Where it is bound or connected; the port is the real one.
    subscribers:
        How many there were when they were last counted; from any thread.
    """

    def __init__(
        self,
        ip: str,
        port: int | str,
        mode: Mode = "local",
        *,
        name: str = "",
        topic: bytes = b"",
        hwm: int = _HWM,
    ) -> None:
        if mode not in get_args(Mode):
            choices = ", ".join(get_args(Mode))
            raise ConfigError(f"A publisher has no mode {mode!r}.", f"Choose one of {choices}.")
        endpoint = endpoint_of(ip, port)
        if mode == "local" and not ip_address(ip).is_loopback:
            raise StreamError(
                f"A publisher of mode local at {ip} would be open to other hosts.",
                "Give it an address 127.x.x.x, or mode outbound for listeners elsewhere.",
            )
        self.name = name
        self.mode: Mode = mode
        self.counters = dict.fromkeys(PUBLISHER_COUNTERS, 0)
        self.subscribers = 0
        self._topic = [topic] if topic else []
        self._socket = Socket(zmq.XPUB, endpoint, bind=mode != "remote", hwm=hwm, public=mode != "local")
        self._socket.set(zmq.XPUB_NODROP, 1)
        self._socket.set(zmq.XPUB_VERBOSER, 1)
        self.endpoint = self._socket.endpoint

    def count_subscribers(self) -> int:
        """Find out how many subscriptions there are; for the thread that sends."""
        while (message := self._socket.receive()) is not None:
            if message and len(message[0]):
                self.subscribers += 1 if message[0][0] else -1
        return self.subscribers

    def send(self, messages: Sequence[bytes | memoryview]) -> None:
        """Send messages, oldest first; memory of theirs must not change afterwards."""
        self.counters["offered"] += len(messages)
        if not self.count_subscribers():
            self.counters["unwatched"] += len(messages)
            return
        for message in messages:
            parts = [*self._topic, message]
            if not self._socket.send(parts):
                # The full queue of one subscriber must not keep it from the others: drop for that one.
                self._socket.set(zmq.XPUB_NODROP, 0)
                self._socket.send(parts)
                self._socket.set(zmq.XPUB_NODROP, 1)
                self.counters["congested"] += 1
        self.counters["sent"] += len(messages)

    def close(self, linger: float = 0.5) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        self._socket.close(linger)
