"""Ports for tests: each process draws from a share that no other process of this machine has."""

import atexit
import random
import socket
from collections.abc import Iterator
from itertools import count

_FIRST = 10_000
_EPHEMERAL = 32_768  # where the kernel takes ports for senders from: a restarted receiver must find its own
_SHARE = 256
_TAKEN: list[socket.socket] = []


def _share() -> tuple[int, int]:
    """Return the first port of this process and the first behind its last.

    A name in the abstract namespace says that the share is taken, until this process has ended.
    """
    firsts = range(_FIRST, _EPHEMERAL - _SHARE, _SHARE)
    for first in random.sample(firsts, len(firsts)):
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0forebay-test-ports-{first}")
        except OSError:
            name.close()
            continue
        _TAKEN.append(name)
        atexit.register(name.close)
        return first, first + _SHARE
    raise AssertionError(f"all {len(firsts)} shares of ports are taken")


def _candidates() -> Iterator[int]:
    """Yield the ports of the share again and again."""
    first, end = _share()
    for i in count():
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
