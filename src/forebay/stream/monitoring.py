"""How the receivers of a camera are: each tells it once a second, one gathers it (SSDAQ 0.9)."""

from __future__ import annotations

import zmq

from forebay.errors import WireError
from forebay.stream.endpoint import endpoint_of
from forebay.stream.socket import Socket
from forebay.wire import cdts

_MOST = 256  # messages that are taken together
_HWM = 1000
_SENDER_HWM = 2
"""What nobody takes is soon stale: a few may wait."""


class MonitorSender:
    """Hands messages to the one who gathers them, and never waits.

    Parameters
    ----------
    endpoint:
        ``tcp://ADDRESS:PORT`` where they are gathered, now or later.

    Raises
    ------
    StreamError
        If the endpoint is none.
    """

    def __init__(self, endpoint: str) -> None:
        self._socket = Socket(zmq.PUSH, endpoint, bind=False, hwm=_SENDER_HWM, public=True)

    def send(self, message: bytes) -> bool:
        """Hand one on; return False if others still wait for somebody who takes them."""
        return self._socket.send([message])

    def close(self) -> None:
        """Let go of the socket; may be called twice."""
        self._socket.close(linger=0.1)


class MonitorInlet:
    """Gathers what receivers say of themselves; one thread at a time.

    Parameters
    ----------
    ip, port:
        Where it binds.

    Raises
    ------
    ConfigError
        If the address is none.
    StreamError
        If it cannot be bound.

    Attributes
    ----------
    counters:
        ``received = messages + malformed``.
    """

    def __init__(self, ip: str, port: int | str) -> None:
        self._socket = Socket(zmq.PULL, endpoint_of(ip, port), bind=True, hwm=_HWM, public=True)
        self.endpoint = self._socket.endpoint
        self.counters = dict.fromkeys(("received", "messages", "malformed"), 0)

    def read(self, timeout: float) -> list[bytes]:
        """Return what came, as it came; wait at most `timeout` seconds for the first."""
        found = []
        message = self._socket.receive(timeout)
        while message is not None:
            self.counters["received"] += 1
            try:
                one = b"" if len(message) != 1 else bytes(message[0])
                cdts.decode(cdts.MONITOR, one)
            except WireError:
                self.counters["malformed"] += 1
            else:
                self.counters["messages"] += 1
                found.append(one)
            message = self._socket.receive() if len(found) < _MOST else None
        return found

    def finish(self) -> list[bytes]:
        """Return what is only known to be whole at the end: nothing."""
        return []

    def close(self) -> None:
        """Let go of the socket; may be called twice."""
        self._socket.close()
