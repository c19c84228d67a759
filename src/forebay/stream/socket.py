"""One ZeroMQ socket with a context of its own: opened with checks, closed within a bounded time."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import zmq

from forebay.errors import StreamError
from forebay.stream.endpoint import check, claim, in_use

MAX_PART_BYTES = 8 * 2**20
"""Larger parts than any of our formats has; ZeroMQ drops a peer that sends one."""

MAX_PARTS = 4096
"""Messages of more parts are read to their end and thrown away as malformed."""


class Socket:
    """A ZeroMQ socket, bound or connected; one thread at a time.

    It has a context, and thus an I/O thread, of its own, so that closing it ends all that belongs to it.

    Parameters
    ----------
    kind:
        ``zmq.PUB``, ``zmq.XPUB``, ``zmq.SUB``, ``zmq.PUSH`` or ``zmq.PULL``.
    endpoint:
        ``tcp://`` or ``ipc://``; port ``*`` takes a free one, see `endpoint`.
    bind:
        Bind (one side of each stream does) or connect (and connect again for ever).
    hwm:
        Messages that may wait on this side, for each peer.
    public:
        Allow other hosts (tcp) and directories of others (ipc).

    Raises
    ------
    StreamError
        If the endpoint is malformed, in use, not ours or not to be bound.
    """

    def __init__(self, kind: int, endpoint: str, *, bind: bool, hwm: int, public: bool = False) -> None:
        path = check(endpoint, binds=bind, public=public)
        self._path = path if bind else None
        self._lock = claim(path, endpoint) if bind and path is not None else None
        self._context = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.set_hwm(hwm)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        self._socket.setsockopt(zmq.IPV6, 1 if "[" in endpoint else 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if kind == zmq.SUB:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            if bind:
                self._socket.bind(endpoint)
            else:
                self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise in_use(endpoint) from error
            raise StreamError(
                f"{endpoint} cannot be {'bound' if bind else 'connected'}: {error.strerror}.",
                "Check the address, the port and the rights.",
            ) from error
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.closed

    def set(self, option: int, value: int) -> None:
        """Set an integer option of the socket."""
        self._socket.setsockopt(option, value)

    def send(self, parts: Sequence[bytes | memoryview], timeout: float = 0.0) -> bool:
        """Send one message; return False if its queue stayed full for `timeout` seconds.

        Parts of 64 KiB and more are not copied: their memory must not change until they are sent.

        Raises
        ------
        StreamError
            If the stream was closed.
        """
        if self._socket.closed:
            raise StreamError(f"The stream {self.endpoint} was closed; nothing can be sent.")
        last = len(parts) - 1
        flags = zmq.DONTWAIT
        if timeout > 0 and not self._socket.poll(_milliseconds(timeout), zmq.POLLOUT):
            return False
        try:
            for i, part in enumerate(parts):
                self._socket.send(part, flags if i == last else flags | zmq.SNDMORE, copy=len(part) < 65536)
        except zmq.Again:
            return False
        return True

    def receive(self, timeout: float = 0.0) -> list[bytes | memoryview] | None:
        """Return the parts of the next message, or None if none came for `timeout` seconds.

        A message of more than `MAX_PARTS` parts comes as no parts at all.
        """
        try:
            head = self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            if timeout <= 0 or not self._socket.poll(_milliseconds(timeout), zmq.POLLIN):
                return None
            try:
                head = self._socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return None
        parts: list[bytes | memoryview] = [head]
        n_parts = 1
        while self._socket.getsockopt(zmq.RCVMORE):
            part = self._socket.recv(copy=False).buffer
            n_parts += 1
            if n_parts <= MAX_PARTS:
                parts.append(part)
        return parts if n_parts <= MAX_PARTS else []

    def close(self, linger: float = 0.0) -> None:
        """Send what waits for at most `linger` seconds, then let go of everything; may be called twice."""
        self._socket.close(linger=_milliseconds(linger))
        self._context.term()
        if self._path is not None and self._lock is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def _milliseconds(seconds: float) -> int:
    return math.ceil(max(seconds, 0.0) * 1000)
