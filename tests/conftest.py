"""What several test files need."""

import socket
from collections.abc import Callable

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that differ from process to process: tests could not run side by side then."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid} has an address in its name: give ids= that stay the same")


@pytest.fixture
def free_udp_port() -> Callable[..., int]:
    """Return a function that finds a run of free UDP ports on loopback."""

    def find(n_ports: int = 1) -> int:
        for _ in range(100):
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
            sockets[0].bind(("127.0.0.1", 0))
            first = sockets[0].getsockname()[1]
            try:
                for port in range(first + 1, first + n_ports):
                    sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    sockets[-1].bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            else:
                return first
            finally:
                for one in sockets:
                    one.close()
        raise RuntimeError("no run of free UDP ports")

    return find
