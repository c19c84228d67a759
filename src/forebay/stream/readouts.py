"""Readouts of a camera over ZeroMQ as SSDAQ publishes them, and whoever listens."""

from __future__ import annotations

from typing import get_args

import numpy as np
import zmq
from numpy.typing import NDArray

from forebay.errors import ConfigError, WireError
from forebay.stream.endpoint import endpoint_of
from forebay.stream.message_publisher import MessagePublisher, Mode
from forebay.stream.socket import Socket
from forebay.wire.ssreadout import READOUT, Generation, decode, encode

LISTENER_COUNTERS = ("received", "malformed", "lost")
"""``lost``: readouts that the numbers say are missing between two that came."""

_HWM = 1000  # as ZeroMQ's own, on which the original relied
_MOST = 256  # readouts that are taken together


class ReadoutPublisher(MessagePublisher):
    """Sends readouts to whoever subscribed, and never waits.

    Parameters
    ----------
    ip, port, mode, topic:
        As of `MessagePublisher`.
    generation:
        Whose message is sent.

    Raises
    ------
    ConfigError
        If the mode or the generation is unknown, or the address is none.
    StreamError
        If the address is taken, not ours, or open to other hosts in mode ``local``.
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
        if generation not in get_args(Generation):
            raise ConfigError(f"There is no generation {generation!r} of messages.", "Choose A or B.")
        super().__init__(ip, port, mode, name=name, topic=topic, hwm=hwm)
        self._generation: Generation = generation

    def append(self, readouts: NDArray[np.void]) -> None:
        """Send readouts, (readout,) of `READOUT`; their memory must not change afterwards."""
        self.send(encode(readouts, self._generation))


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
