"""One ZeroMQ socket with a context of its own: opened with checks, closed within a bounded time."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

import zmq

from forebay.errors import StreamError
from forebay.stream.endpoint import check, claim, in_use
from forebay.stream.hold import PeerHold

MAX_PART_BYTES = 8 * 2**20
"""Larger parts than any of our formats has; ZeroMQ drops a peer that sends one."""

COPY_BYTES = 2**16
"""Parts of this size and more are lent to ZeroMQ and by it; below, a copy is cheaper."""

MAX_PARTS = 4096
"""Messages of more parts are read to their end and thrown away as malformed."""

_DONTWAIT, _SNDMORE = int(zmq.DONTWAIT), int(zmq.SNDMORE)
"""Plain integers: joining zmq's enum flags costs as much as sending a small message."""


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
    max_part_bytes, max_parts:
        Larger parts break the connection, messages of more parts come as no parts at all.

    Raises
    ------
    StreamError
        If the endpoint is malformed, in use, not ours or not to be bound.
    """

    def __init__(
        self,
        kind: int,
        endpoint: str,
        *,
        bind: bool,
        hwm: int,
        public: bool = False,
        max_part_bytes: int = MAX_PART_BYTES,
        max_parts: int = MAX_PARTS,
    ) -> None:
        path = check(endpoint, binds=bind, public=public)
        self._path = path if bind else None
        self._lock = claim(path, endpoint) if bind and path is not None else None
        self._max_parts = max_parts
        self._context = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.set_hwm(hwm)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_part_bytes)
        self._socket.setsockopt(zmq.IPV6, 1 if "[" in endpoint else 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if kind == zmq.SUB:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._hold = PeerHold(self._socket) if kind == zmq.PUSH and path is not None else None
        self._open(endpoint, bind)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def connect(self, endpoint: str, *, public: bool = False) -> None:
        """Connect to one more endpoint; on an error the socket is closed."""
        try:
            check(endpoint, binds=False, public=public)
        except StreamError:
            self.close()
            raise
        self._open(endpoint, bind=False)

    def _open(self, endpoint: str, bind: bool) -> None:
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
                f"{endpoint} cannot be {'bound' if bind else 'connected'}: {zmq.strerror(error.errno or 0)}.",
                "Check the address, the port and the rights.",
            ) from error

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.closed

    def set(self, option: int, value: int) -> None:
        """Set an integer option of the socket."""
        self._socket.setsockopt(option, value)

    def send(self, parts: Sequence[bytes | memoryview], timeout: float = 0.0) -> bool:
        """Send one message; return False if its queue stayed full for `timeout` seconds.

        Parts of `COPY_BYTES` and more are not copied: their memory must not change afterwards.

        Raises
        ------
        StreamError
            If the stream was closed.
        """
        self._check_open()
        end = time.monotonic() + timeout
        while not self._try(parts):
            left = end - time.monotonic()
            if left <= 0 or not self._socket.poll(_milliseconds(left), zmq.POLLOUT):
                return False
        return True

    def _try(self, parts: Sequence[bytes | memoryview]) -> bool:
        last = len(parts) - 1
        for i, part in enumerate(parts):
            more = 0 if i == last else _SNDMORE
            try:
                self._socket.send(part, _DONTWAIT | more, copy=len(part) < COPY_BYTES)
            except zmq.Again:
                # After the first part it means that the peer went away meanwhile; ZeroMQ then throws the
                # message away, but wants to see its end.
                for k in range(i + 1, last + 1) if i else ():
                    self._socket.send(b"", _DONTWAIT | (0 if k == last else _SNDMORE))
                return False
        return True

    def receive(self, timeout: float = 0.0) -> list[bytes | memoryview] | None:
        """Return the parts of the next message, or None if none came for `timeout` seconds.

        A message of more than `max_parts` parts comes as no parts at all. `StreamError` after `close`.
        """
        self._check_open()
        try:
            frame = self._socket.recv(_DONTWAIT, copy=False)
        except zmq.Again:
            if timeout <= 0 or not self._socket.poll(_milliseconds(timeout), zmq.POLLIN):
                return None
            try:
                frame = self._socket.recv(_DONTWAIT, copy=False)
            except zmq.Again:
                return None
        parts: list[bytes | memoryview] = [frame.bytes]
        n_parts = 1
        while frame.more:
            frame = self._socket.recv(copy=False)
            n_parts += 1
            if n_parts <= self._max_parts:
                parts.append(frame.bytes if len(frame) < COPY_BYTES else frame.buffer)
        return parts if n_parts <= self._max_parts else []

    def _check_open(self) -> None:
        if self._socket.closed:
            raise StreamError(f"The stream {self.endpoint} was closed.", "Open a new one.")

    def close(self, linger: float = 0.0) -> None:
        """Send what waits for at most `linger` seconds, then let go of everything; may be called twice."""
        end = time.monotonic() + linger
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.take()
        self._socket.close(linger=_milliseconds(linger))
        self._context.term()
        if hold is not None:
            hold.release(end)
        if self._path is not None and self._lock is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def _milliseconds(seconds: float) -> int:
    return math.ceil(max(seconds, 0.0) * 1000)
