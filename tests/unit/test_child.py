"""A supervised process: how long it waits for its next life, when it is failing, and what is a clean end."""

import signal
import subprocess

import pytest

from forebay.service import child
from forebay.service.child import BACKOFF_S, CALM_S, FAILING_AFTER, Child

pytestmark = pytest.mark.unit


class Process:
    """A process that ends when it is told to."""

    def __init__(self, pid):
        self.pid = pid
        self.code = None
        self.signals = []
        self.ignores = False

    def poll(self):
        return self.code

    def send_signal(self, number):
        self.signals.append(number)

    def wait(self, timeout=None):
        if self.ignores and timeout is not None:
            raise subprocess.TimeoutExpired("it", timeout)
        return self.code

    def kill(self):
        self.code = -signal.SIGKILL


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(child.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def one(clock, monkeypatch):
    """A child; `one.born` are its processes."""
    born = []

    def start(*_, **__):
        born.append(Process(len(born) + 1))
        return born[-1]

    monkeypatch.setattr(child.subprocess, "Popen", start)
    made = Child("receive", "D1", [], {})
    made.born = born
    made.start()
    return made


def live(one, clock, seconds, *, ready=True, looked_at=False):
    """Let its present process live so long, and die."""
    if ready:
        one.hear(one.pid, {"READY": "1"})
    clock[0] += seconds
    if looked_at:
        assert not one.look()
    one.born[-1].code = 1
    assert one.look()


def test_who_dies_again_and_again_waits_ever_longer_and_is_failing(one, clock):
    waits = []
    for n in range(len(BACKOFF_S) + 2):
        live(one, clock, 1.0)
        waits.append(one.wait_s)
        assert one.state == ("failing" if n + 1 >= FAILING_AFTER else "restarting")
        assert not one.is_due
        clock[0] += one.wait_s
        assert one.is_due
        one.start()
    assert waits == pytest.approx([*BACKOFF_S, BACKOFF_S[-1], BACKOFF_S[-1]])
    assert one.report.n_restarts == len(waits)


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("looked_at", [True, False])
def test_who_lived_long_begins_with_the_shortest_wait_again(one, clock, ready, looked_at):
    for _ in range(FAILING_AFTER):
        live(one, clock, 1.0)
        one.start()
    live(one, clock, CALM_S + 1, ready=ready, looked_at=looked_at)
    assert one.wait_s == pytest.approx(BACKOFF_S[0])
    assert (one.n_failures, one.state) == (1, "restarting")


@pytest.mark.parametrize(
    ("code", "ready", "is_clean"),
    [(0, True, True), (0, False, True), (1, True, False), (-signal.SIGTERM, True, False), (-15, False, True)],
)
def test_an_end_that_was_asked_for(one, code, ready, is_clean):
    if ready:
        one.hear(one.pid, {"READY": "1"})
    one.terminate()
    process = one.born[-1]
    assert process.signals == [signal.SIGTERM]
    process.code = code
    assert one.wait(1.0) is is_clean
    assert (one.state, one.exit_code) == ("stopped", code)


def test_who_does_not_end_is_killed_and_that_is_not_clean(one):
    one.hear(one.pid, {"READY": "1"})
    one.terminate()
    one.born[-1].ignores = True
    assert not one.wait(1.0)
    assert (one.exit_code, one.reason) == (-signal.SIGKILL, "killed by SIGKILL")
