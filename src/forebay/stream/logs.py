"""Log records of a camera's programs, each of which sends them over a TCP connection (SSDAQ 0.9)."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field
from ipaddress import ip_address

from forebay.errors import ConfigError, StreamError
from forebay.wire.log_stream import LogSplitter

_MOST_CLIENTS = 256
_RECEIVE_BYTES = 2**16
_MOST_READS = 64  # of one connection at the end: more than its socket holds
_PAUSE_S = 0.02  # a sender that is silent for so long has sent its record
_STUCK_S = 30.0  # half a record for so long is none
_IDLE_S = 10.0

LOG_COUNTERS = (
    "received",
    "messages",
    "malformed",
    "skipped_bytes",
    "bytes",
    "clients",
    "evicted",
    "refused",
)
"""Of `LogInlet`."""


@dataclass
class _Client:
    socket: socket.socket
    splitter: LogSplitter = field(default_factory=LogSplitter)
    n_records: int = 0
    heard_s: float = field(default_factory=time.monotonic)


class LogInlet:
    """A listening socket and its connections; one thread at a time.

    Each connection has a buffer of its own, so that records of several senders never mix, and a record may
    come in any number of pieces.

    Parameters
    ----------
    ip, port:
        Where it listens; port 0 takes any that is free.
    idle_s:
        Where there are 256 connections, one that was silent for so long gives way to a new one: first those
        that never sent a record, then the one that is silent longest. If there is none, the new one is
        refused.

    Raises
    ------
    ConfigError
        If the address is none.
    StreamError
        If it cannot be had.

    Attributes
    ----------
    port:
        The TCP port.
    counters:
        ``received = messages + malformed``: records and stretches of bytes that are none, whose bytes are
        ``skipped_bytes``; ``bytes`` of all; ``clients`` that connected, those ``evicted`` for new ones, and
        those ``refused`` because there were too many.
    """

    def __init__(self, ip: str, port: int, *, idle_s: float = _IDLE_S) -> None:
        try:
            family = socket.AF_INET6 if ip_address(ip).version == 6 else socket.AF_INET
        except ValueError as error:
            raise ConfigError(f"ip {ip!r} is not an IP address.", "Write it a.b.c.d, or as IPv6.") from error
        try:
            self._socket = socket.create_server((ip, port), family=family, backlog=64)
        except OSError as error:
            raise StreamError(
                f"TCP port {port} of {ip} cannot be had: {error.strerror}.",
                f"Find who has it with: ss -tlpn 'sport = :{port}'. Or choose another.",
            ) from error
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.endpoint = f"{ip}:{self.port}"
        self.counters = dict.fromkeys(LOG_COUNTERS, 0)
        self._idle_s = idle_s
        self._last_words: list[bytes] = []  # of those that gave way
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._clients: dict[int, _Client] = {}

    @property
    def n_clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def read(self, timeout: float) -> list[bytes]:
        """Return the records that have ended; wait at most `timeout` seconds for something to come."""
        if any(client.splitter.n_waiting for client in self._clients.values()):
            timeout = min(timeout, _PAUSE_S)
        found: list[bytes] = []
        for key, _ in self._selector.select(timeout):
            client = self._clients.get(key.fd)
            if client is None:
                self._accept()
            else:
                found += self._receive(client)
        now = time.monotonic()
        for client in list(self._clients.values()):
            if client.splitter.n_waiting and now - client.heard_s >= _PAUSE_S:
                is_stuck = now - client.heard_s >= _STUCK_S
                found += self._counted(
                    client, client.splitter.close() if is_stuck else client.splitter.pause()
                )
        return found + self._taken_last_words()

    def _taken_last_words(self) -> list[bytes]:
        found, self._last_words = self._last_words, []
        return found

    def _accept(self) -> bool:
        """Take one connection if there is any; return whether there was."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError:  # it went away again, or there are no descriptors: the others must go on
            self.counters["refused"] += 1
            return False
        if len(self._clients) >= _MOST_CLIENTS and not self._evict():
            connection.close()
            self.counters["refused"] += 1
            return True
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # its host may be gone
        self.counters["clients"] += 1
        self._clients[connection.fileno()] = _Client(connection)
        self._selector.register(connection, selectors.EVENT_READ)
        return True

    def _evict(self) -> bool:
        """End the connection that is least worth keeping, if one was silent for long; return whether."""
        client = min(self._clients.values(), key=lambda one: (one.n_records > 0, one.heard_s))
        if time.monotonic() - client.heard_s < self._idle_s:
            return False
        n = self.counters["bytes"]
        self._last_words += self._receive(client)
        if self.counters["bytes"] > n:  # it was not silent, but was not asked for a while
            return False
        if client.socket.fileno() >= 0:
            self._last_words += self._end(client)
            self.counters["evicted"] += 1
        return True

    def _receive(self, client: _Client) -> list[bytes]:
        try:
            data = client.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:  # reset by its other end: as if it had closed
            data = b""
        if not data:
            return self._end(client)
        client.heard_s = time.monotonic()
        self.counters["bytes"] += len(data)
        return self._counted(client, client.splitter.feed(data))

    def _counted(self, client: _Client, records: list[bytes]) -> list[bytes]:
        splitter, counters = client.splitter, self.counters
        client.n_records += len(records)
        counters["messages"] += len(records)
        counters["malformed"] += splitter.n_malformed
        counters["received"] += len(records) + splitter.n_malformed
        counters["skipped_bytes"] += splitter.n_skipped_bytes
        splitter.n_malformed = splitter.n_skipped_bytes = 0
        return records

    def _end(self, client: _Client) -> list[bytes]:
        self._selector.unregister(client.socket)
        del self._clients[client.socket.fileno()]
        client.socket.close()
        return self._counted(client, client.splitter.close())

    def finish(self) -> list[bytes]:
        """Take what waits in every connection, close it, and return the records that were the last ones."""
        for _ in range(_MOST_CLIENTS):  # who goes on connecting is not waited for
            if not self._accept():
                break
        found = []
        for client in list(self._clients.values()):
            for _ in range(_MOST_READS):
                n = self.counters["bytes"]
                found += self._receive(client)
                if self.counters["bytes"] == n:
                    break
            if client.socket.fileno() >= 0:
                found += self._end(client)
        return found + self._taken_last_words()

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._selector.close()
        self._socket.close()
