"""Ports for tests that run side by side: each process draws from a share of its own, none twice in a row."""

import os
import random
import socket
from collections.abc import Iterator
from itertools import count

_FIRST = 10_000
_EPHEMERAL = 32_768  # where the kernel takes ports for senders from: a restarted receiver must find its own


def _share() -> tuple[int, int]:
    """Return the first port of this process and the first behind its last, by its number under xdist."""
    i = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    n = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    size = (_EPHEMERAL - _FIRST) // n
    return _FIRST + i * size, _FIRST + (i + 1) * size


def _candidates() -> Iterator[int]:
    """Yield the ports of the share again and again, from anywhere on: other test runs may be going on."""
    first, end = _share()
    start = random.randrange(end - first)
    for i in count(start):
        yield first + i % (end - first)


_PORTS = _candidates()


def free_ports(n_ports: int, kind: int = socket.SOCK_DGRAM) -> int:
    """Return the first of some neighbouring ports of loopback that nobody uses, UDP unless `kind` differs."""
    row: list[int] = []
    for _ in range(20_000):
        port = next(_PORTS)
        row = [*row, port] if row and port == row[-1] + 1 else [port]
        if not is_free(port, kind):
            row = []
        elif len(row) == n_ports:
            return row[0]
    raise AssertionError(f"no {n_ports} neighbouring free ports")


def is_free(port: int, kind: int) -> bool:
    """Whether nobody uses a port of loopback."""
    with socket.socket(socket.AF_INET, kind) as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
