"""Readouts of a camera over ZeroMQ as SSDAQ publishes them, and whoever listens."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal, get_args

import numpy as np
import zmq
from numpy.typing import NDArray

from forebay.errors import ConfigError, StreamError, WireError
from forebay.stream.socket import Socket
from forebay.wire.ssreadout import READOUT, Generation, decode, encode

Mode = Literal["local", "outbound", "remote"]

PUBLISHER_COUNTERS = ("offered", "sent", "unwatched", "congested")
"""``offered = sent + unwatched``; ``congested``, at most ``sent``: a subscriber's queue was full."""

LISTENER_COUNTERS = ("received", "malformed", "lost")
"""``lost``: readouts that the numbers say are missing between two that came."""

_HWM = 1000  # as ZeroMQ's own, on which the original relied
_MOST = 256  # readouts that are taken together


def endpoint_of(ip: str, port: int | str) -> str:
    """Return the endpoint of an address; `ConfigError` if it is none."""
    try:
        address = ip_address(ip)
    except ValueError as error:
        raise ConfigError(f"ip {ip!r} is not an IP address.", "Write it a.b.c.d, or as IPv6.") from error
    return f"tcp://[{address}]:{port}" if address.version == 6 else f"tcp://{address}:{port}"


class ReadoutPublisher:
    """Sends readouts to whoever subscribed, and never waits.

    Parameters
    ----------
    ip, port:
        Where it binds, or the listener does; port ``*`` takes a free one.
    mode:
        ``local`` binds to an address of this computer alone, ``outbound`` to any of its addresses;
        ``remote`` connects to a listener that binds.
    generation:
        Whose message is sent.
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
        generation: Generation = "A",
        topic: bytes = b"",
        hwm: int = _HWM,
    ) -> None:
        if mode not in get_args(Mode):
            raise ConfigError(
                f"A publisher has no mode {mode!r}.", f"Choose one of {', '.join(get_args(Mode))}."
            )
        endpoint = endpoint_of(ip, port)
        if generation not in get_args(Generation):
            raise ConfigError(f"There is no generation {generation!r} of messages.", "Choose A or B.")
        if mode == "local" and not ip_address(ip).is_loopback:
            raise StreamError(
                f"A publisher of mode local at {ip} would be open to other hosts.",
                "Give it an address 127.x.x.x, or mode outbound for listeners elsewhere.",
            )
        self.name = name
        self.mode: Mode = mode
        self.counters = dict.fromkeys(PUBLISHER_COUNTERS, 0)
        self._generation: Generation = generation
        self._topic = [topic] if topic else []
        self.subscribers = 0
        self._socket = Socket(zmq.XPUB, endpoint, bind=mode != "remote", hwm=hwm, public=mode != "local")
        self._socket.set(zmq.XPUB_NODROP, 1)
        self._socket.set(zmq.XPUB_VERBOSER, 1)
        self.endpoint = self._socket.endpoint

    @property
    def n_subscribers(self) -> int:
        """How many subscriptions there are; for the thread that sends."""
        return self.count_subscribers()

    def count_subscribers(self) -> int:
        """Find out how many subscriptions there are; for the thread that sends."""
        while (message := self._socket.receive()) is not None:
            if message and len(message[0]):
                self.subscribers += 1 if message[0][0] else -1
        return self.subscribers

    def append(self, readouts: NDArray[np.void]) -> None:
        """Send readouts, (readout,) of `READOUT`; their memory must not change afterwards."""
        self.counters["offered"] += len(readouts)
        if not len(readouts):
            return
        if not self.count_subscribers():
            self.counters["unwatched"] += len(readouts)
            return
        for message in encode(readouts, self._generation):
            parts: list[bytes | memoryview] = [*self._topic, message]
            if not self._socket.send(parts):
                # The full queue of one subscriber must not keep it from the others: drop for that one.
                self._socket.set(zmq.XPUB_NODROP, 0)
                self._socket.send(parts)
                self._socket.set(zmq.XPUB_NODROP, 1)
                self.counters["congested"] += 1
        self.counters["sent"] += len(readouts)

    def close(self, linger: float = 0.5) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        self._socket.close(linger)


class ReadoutListener:
    """Receives readouts of any generation of messages; one thread at a time.

    Parameters
    ----------
    ip, port:
        Of the publisher; ``0.0.0.0`` binds instead, for publishers of mode ``remote``.

    Raises
    ------
    ConfigError
        If the address is none.
    StreamError
        If it cannot be bound.

    Attributes
    ----------
    counters:
        By the names of `LISTENER_COUNTERS`.
    endpoint:
        Where it is bound or connected; the port is the real one.
    """

    def __init__(self, ip: str, port: int | str, *, hwm: int = _HWM) -> None:
        binds = ip in ("0.0.0.0", "::")  # noqa: S104 - so the original says that it is to bind
        self.counters = dict.fromkeys(LISTENER_COUNTERS, 0)
        self._last = 0
        self._socket = Socket(zmq.SUB, endpoint_of(ip, port), bind=binds, hwm=hwm, public=True)
        self.endpoint = self._socket.endpoint

    def read(self, timeout: float) -> NDArray[np.void]:
        """Return what came, (readout,) of `READOUT`; wait at most `timeout` seconds for the first.

        Raises
        ------
        StreamError
            After `close`.
        """
        found = []
        message = self._socket.receive(timeout)
        while message is not None:
            try:
                found.append(decode(message[-1:] or [b""]))
                self._count(int(found[-1]["number"][0]))
            except WireError:
                self.counters["malformed"] += 1
            message = self._socket.receive() if len(found) < _MOST else None
        return np.concatenate(found) if found else np.empty(0, READOUT)

    def _count(self, number: int) -> None:
        self.counters["received"] += 1
        if 0 < self._last < number:
            self.counters["lost"] += number - self._last - 1
        self._last = number

    def close(self) -> None:
        """Let go of the socket; may be called twice."""
        self._socket.close()
