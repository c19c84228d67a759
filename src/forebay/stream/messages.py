"""Messages of any kind from one publisher, as they are: the camera's triggers, time stamps, logs."""

from __future__ import annotations

import zmq

from forebay.stream.endpoint import endpoint_of
from forebay.stream.socket import Socket

_HWM = 10_000
_MOST = 256  # messages that are taken together


class MessageListener:
    """Takes the last frame of each message; one thread at a time.

    Parameters
    ----------
    ip, port:
        Of the publisher; ``0.0.0.0`` binds instead, for publishers that connect.

    Raises
    ------
    ConfigError
        If the address is none.
    StreamError
        If it cannot be bound.
    """

    def __init__(self, ip: str, port: int | str) -> None:
        binds = ip in ("0.0.0.0", "::")  # noqa: S104 - so the original says that it is to bind
        self._socket = Socket(zmq.SUB, endpoint_of(ip, port), bind=binds, hwm=_HWM, public=True)
        self.endpoint = self._socket.endpoint

    def read(self, timeout: float) -> list[bytes]:
        """Return what came, oldest first; wait at most `timeout` seconds for the first."""
        found = []
        message = self._socket.receive(timeout)
        while message is not None:
            if message:
                found.append(bytes(message[-1]))
            message = self._socket.receive() if len(found) < _MOST else None
        return found

    def close(self) -> None:
        """Let go of the socket; may be called twice."""
        self._socket.close()
