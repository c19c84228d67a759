"""What several test files need."""

from collections.abc import Callable

import pytest
from tests.ports import free_ports


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that differ from process to process: tests could not run side by side then."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid} has an address in its name: give ids= that stay the same")


@pytest.fixture
def free_udp_port() -> Callable[..., int]:
    """Return a function that finds a run of free UDP ports on loopback."""

    def find(n_ports: int = 1) -> int:
        return free_ports(n_ports)

    return find
