"""Trigger patterns of a camera from one UDP port, each datagram as it came."""

from __future__ import annotations

import select
import socket
from ipaddress import ip_address

import numpy as np

from forebay import _native
from forebay.assemble.receiver import open_port
from forebay.errors import ConfigError, ServiceError, WireError
from forebay.wire.trigger import type_of

_ROWS = 64
_ROW_BYTES = 65536  # more than any datagram has
_BUFFER_BYTES = 64 * 2**20
_SO_MEMINFO = 55
_MEMINFO_WORDS = 9
_DROPS = 8


class TriggerInlet:
    """One UDP port to which the trigger board of a camera sends; one thread at a time.

    A datagram that is no trigger pattern is counted and handed on all the same, as in the original: whoever
    listens sees what the board sent.

    Parameters
    ----------
    ip, port:
        Where to listen; port 0 takes any that is free.

    Raises
    ------
    ConfigError
        If the address is not ours or the port is taken or not allowed.

    Attributes
    ----------
    port:
        The UDP port.
    counters:
        ``received = messages``, datagrams; those of them that are ``malformed``; ``type_0`` to ``type_3``
        of the others; ``bytes``; ``kernel_drop``, those that the kernel dropped, come on top.
    """

    def __init__(self, ip: str, port: int) -> None:
        try:
            address = ip_address(ip)
        except ValueError as error:
            raise ConfigError(f"ip {ip!r} is not an IP address.", "Write it a.b.c.d, or as IPv6.") from error
        names = ("received", "messages", "malformed", "type_0", "type_1", "type_2", "type_3", "bytes")
        self.counters = dict.fromkeys((*names, "kernel_drop"), 0)
        self._socket, self.buffered = open_port(address, port, _BUFFER_BYTES)
        self.port: int = self._socket.getsockname()[1]
        self.endpoint = f"{ip}:{self.port}"
        self._rows = np.empty((_ROWS, _ROW_BYTES), np.uint8)  # only pages that are used take memory
        self._sizes = np.zeros(_ROWS, np.uint32)
        self._senders = np.zeros((_ROWS, 16), np.uint8)

    def read(self, timeout: float) -> list[bytes]:
        """Return the datagrams that wait in the socket; wait at most `timeout` seconds for the first.

        Raises
        ------
        ServiceError
            If the socket fails.
        """
        if timeout > 0:
            select.select([self._socket], [], [], timeout)
        try:
            n = _native.receive_datagrams(self._socket.fileno(), self._rows, self._sizes, self._senders)
        except RuntimeError as error:
            raise ServiceError(f"Port {self.port} stopped receiving: {error}.") from error
        found = [self._rows[i, :size].tobytes() for i, size in enumerate(self._sizes[:n].tolist())]
        for datagram in found:
            self._count(datagram)
        if not n:
            self._count_drops()
        return found

    def _count(self, datagram: bytes) -> None:
        counters = self.counters
        counters["received"] += 1
        counters["messages"] += 1
        counters["bytes"] += len(datagram)
        try:
            counters[f"type_{type_of(datagram)}"] += 1
        except WireError:
            counters["malformed"] += 1

    def _count_drops(self) -> None:
        info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
        self.counters["kernel_drop"] = int(np.frombuffer(info, np.uint32)[_DROPS])

    def finish(self) -> list[bytes]:
        """Count what the kernel dropped; nothing is only known to be whole at the end."""
        self._count_drops()
        return []

    def close(self) -> None:
        """Let go of the port; may be called twice."""
        self._socket.close()
