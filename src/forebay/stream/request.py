"""One question, one answer over ZeroMQ: control channels on one host, commands to boards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import zmq

from forebay.errors import NoAnswerError
from forebay.stream.endpoint import check, not_connected
from forebay.stream.socket import Socket

_HWM = 100


def _is_file(endpoint: str) -> bool:
    """Whether the endpoint was named by its path, wherever that is; TCP stays on loopback."""
    return endpoint.startswith("ipc://")


class Replier:
    """Answers questions; one thread at a time.

    Parameters
    ----------
    public:
        Allow a socket in a directory of others.
    other_hosts:
        Let other hosts ask, too, over TCP.

    Raises
    ------
    StreamError, ConfigError
        If the endpoint is malformed, in use, or not to be bound.
    """

    def __init__(self, endpoint: str, *, public: bool = False, other_hosts: bool = False) -> None:
        is_allowed = other_hosts or (public and _is_file(endpoint))
        self._socket = Socket(zmq.REP, endpoint, bind=True, hwm=_HWM, public=is_allowed)
        self.endpoint = self._socket.endpoint

    def serve(self, answer: Callable[[bytes], bytes], timeout: float) -> bool:
        """Answer the next question; return False if none came for `timeout` seconds.

        `answer` must not raise: without a reply the channel would be dead.
        """
        parts = self._socket.receive(timeout)
        if parts is None:
            return False
        self._socket.send([answer(b" ".join(bytes(part) for part in parts))], timeout)
        return True

    def close(self) -> None:
        """Send the last answer, then let go of the endpoint; may be called twice."""
        self._socket.close(linger=0.5)


def ask(endpoint: str, question: bytes, timeout: float) -> bytes:
    """Ask once and return the answer.

    Raises
    ------
    NoAnswerError
        If none came within `timeout` seconds.
    StreamError
        If the endpoint is malformed.
    """
    is_there = not _is_file(endpoint) or Path(endpoint.removeprefix("ipc://")).exists()
    if not is_there:
        raise NoAnswerError(f"Nobody listens at {endpoint}.", "Is it running?")
    socket = Socket(zmq.REQ, endpoint, bind=False, hwm=_HWM, public=True)
    try:
        parts = socket.receive(timeout) if socket.send([question], timeout) else None
    finally:
        socket.close()
    if parts is None:
        raise NoAnswerError(f"Nobody answered at {endpoint} within {timeout:g} s.", "Is it running?")
    return b" ".join(bytes(part) for part in parts)


class RequestLine:
    """A line for many questions to one who answers; an answer that comes too late is taken for no other.

    Raises
    ------
    StreamError
        If the endpoint is malformed.
    """

    def __init__(self, endpoint: str) -> None:
        check(endpoint, binds=False, public=True)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        for option in (zmq.REQ_RELAXED, zmq.REQ_CORRELATE):
            self._socket.setsockopt(option, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise not_connected(endpoint, error) from error

    def ask(self, question: bytes, timeout: float) -> bytes | None:
        """Return the answer, or None if none came within `timeout` seconds."""
        self._socket.send(question)
        return self._socket.recv() if self._socket.poll(int(timeout * 1000)) else None

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._context.destroy(linger=0)
