"""What several test files need, and what holds for every session of tests."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from tests import isolation, leaks
from tests.ports import free_ports

settings.register_profile("patient", settings(), deadline=None)  # no test depends on how busy a machine is
settings.load_profile("patient")
FOLDER = isolation.enter()
BEGAN_S = time.time()
LEFT: list[str] = []
"""What the tests left behind, a line each."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of several that run tests for another one."""
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that differ from process to process: tests could not run side by side then."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid} has an address in its name: give ids= that stay the same")


def note(text: str) -> None:
    """Write a failure to the file that was asked for, at once: a session may break at its end."""
    if path := os.environ.get("FOREBAY_TEST_FAILURES"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"FAILED {text}\n")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        note(f"{report.nodeid} ({report.when})\n{report.longreprtext}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        note(f"{report.nodeid} (collection)\n{report.longreprtext}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Clean away what the tests left behind; it is a failure of the session."""
    if is_worker(session.config):
        return
    base = session.config._tmp_path_factory._basetemp  # type: ignore[attr-defined]
    LEFT.extend(leaks.clean(FOLDER, [base] if base else [], BEGAN_S))
    if LEFT and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    for line in LEFT:
        note(f"to clean up: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the tests left behind."""
    if LEFT:
        terminalreporter.section("left behind by tests", red=True)
        terminalreporter.write_line("\n".join(LEFT))


@pytest.fixture
def free_udp_port() -> Callable[..., int]:
    """Return a function that finds a run of free UDP ports on loopback."""

    def find(n_ports: int = 1) -> int:
        return free_ports(n_ports)

    return find
