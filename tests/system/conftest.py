"""What several tests of processes and sockets need."""

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import postgres

_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 64 * 2**20
_QUIET_S = 0.2


@dataclass
class UdpInlet:
    """Plain Python sockets, a thread each, that keep all that comes; `finish` waits until nothing does."""

    first_port: int
    n_ports: int
    received: list[list[tuple[bytes, str]]] = field(default_factory=list)

    def __enter__(self) -> "UdpInlet":
        self._done = threading.Event()
        self._sockets = []
        self._threads = []
        for i in range(self.n_ports):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            with suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            sock.bind(("127.0.0.1", self.first_port + i))
            sock.settimeout(_QUIET_S)
            kept: list[tuple[bytes, str]] = []
            self.received.append(kept)
            self._sockets.append(sock)
            self._threads.append(threading.Thread(target=self._listen, args=(sock, kept)))
        for thread in self._threads:
            thread.start()
        return self

    def _listen(self, sock, kept) -> None:
        while True:
            done = self._done.is_set()
            try:
                datagram, source = sock.recvfrom(2**16)
            except TimeoutError:
                if done:
                    return
            else:
                kept.append((datagram, source[0]))

    def finish(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def __exit__(self, *_) -> None:
        self.finish()
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def udp_inlet() -> type[UdpInlet]:
    """Return the class of inlets: ``with udp_inlet(first_port, n_ports) as inlet``."""
    return UdpInlet


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """Lend a PostgreSQL of our own; skips where none is installed, fails in CI."""
    if reason := postgres.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with tempfile.TemporaryDirectory(prefix="fb-pg-") as directory:
        Path(directory).chmod(0o755)  # not below pytest's, which only its user may enter
        with postgres.Postgres(Path(directory) / "server") as server:
            yield server


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory):
    """One private RabbitMQ for all tests; without one they are skipped, in CI that is a failure."""
    from .rabbit import Rabbit, missing

    if why := missing():
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with Rabbit(tmp_path_factory.mktemp("rabbit")) as broker:
        yield broker
