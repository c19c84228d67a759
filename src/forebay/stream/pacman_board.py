"""The network side of a board or data server: what a simulated one says goes out as from a real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import zmq

from forebay.errors import StreamError
from forebay.stream.endpoint import check, in_use

_DONTWAIT = int(zmq.DONTWAIT)
REAL_HWM: Final = 100
"""Messages that wait for each listener at a real board, which drops silently what comes then."""


class BoardSockets:
    """A REP socket for commands, PUB sockets for data and for an echo of the answers.

    Parameters
    ----------
    command, data, echo:
        Endpoints to bind; port ``*`` takes a free one. `public` allows other addresses than loopback. Data
        servers have no echo.
    hwm:
        Messages that may wait for each listener.

    Attributes
    ----------
    sent, dropped, unheard:
        Data messages that went out, that found the queue full, and that nobody listened to.

    Raises
    ------
    StreamError
        If an endpoint is malformed, in use or not to be bound.
    """

    def __init__(
        self, command: str, data: str, echo: str | None, *, hwm: int = REAL_HWM, public: bool = False
    ) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._command = self._bind(zmq.REP, command, 0, public)
        self._data = self._bind(zmq.XPUB, data, hwm, public)
        self._echo = None if echo is None else self._bind(zmq.PUB, echo, REAL_HWM, public)
        self.command, self.data = (
            one.getsockopt_string(zmq.LAST_ENDPOINT) for one in (self._command, self._data)
        )
        self.sent = self.dropped = self.unheard = 0
        self.listeners = 0

    def _bind(self, kind: int, endpoint: str, hwm: int, public: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        try:
            check(endpoint, binds=True, public=public)
            socket.set_hwm(hwm)
            socket.setsockopt(zmq.LINGER, 0)
            if kind == zmq.XPUB:
                socket.setsockopt(zmq.XPUB_NODROP, 1)  # a full queue is told, and counted
                socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise in_use(endpoint) from error
        except StreamError:
            self.close()
            raise
        return socket

    def request(self, timeout: float) -> bytes | None:
        """Return the next request, or None if none came within `timeout` seconds; `reply` must follow."""
        self._count_listeners()
        if not self._command.poll(int(timeout * 1000)):
            return None
        return self._command.recv(_DONTWAIT)

    def reply(self, message: bytes) -> None:
        """Answer the request."""
        self._command.send(message)
        if self._echo is not None:
            self._echo.send(message)

    def _count_listeners(self) -> None:
        try:
            while True:
                self.listeners += 1 if self._data.recv(_DONTWAIT)[:1] == b"\1" else -1
        except zmq.Again:
            return

    def publish(self, messages: Sequence[bytes], patience: float = 0.0) -> int:
        """Send data messages; return how many went out.

        Parameters
        ----------
        patience:
            Seconds to wait for room in a full queue, before messages are dropped as a real board does.
        """
        self._count_listeners()
        if self.listeners <= 0:
            self.unheard += len(messages)
            return 0
        send, n_sent = self._data.send, 0
        for message in messages:
            try:
                send(message, _DONTWAIT)
                n_sent += 1
            except zmq.Again:
                if patience and self._data.poll(int(patience * 1000), zmq.POLLOUT):
                    send(message)
                    n_sent += 1
                else:
                    self.dropped += 1
        self.sent += n_sent
        return n_sent

    def close(self, linger: float = 0.0) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        if not self._context.closed:
            self._context.destroy(linger=int(linger * 1000))
