"""One supervised process: how it is started, how it ended, and how long it waits for its next life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Literal

import msgspec

from forebay.service.process import say

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits before the first, second ... restart in a row; the last one for all further ones."""

CALM_S = 20.0
"""A service that lived so long starts again with the shortest wait."""

FAILING_AFTER = 3
"""A service that died so often in a row is failing, until it has lived for `CALM_S`."""

State = Literal["waiting", "starting", "ready", "restarting", "failing", "stopping", "stopped"]


class ServiceReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a service is, for people, files and the bus.

    Attributes
    ----------
    name:
        ``ROLE.NAME``.
    state:
        *waiting* for others to be ready, *starting*, *ready*, *restarting* after it died, *failing* if it
        dies again and again, *stopping*, *stopped*.
    pid:
        Its process, None while there is none.
    since_ns:
        When that process was started: ns since 1970, UTC; 0 before the first.
    n_restarts:
        How often it was started again.
    exit_code:
        How its last process ended: the code, or the negative number of a signal; None if none has ended.
    reason:
        What that process said last before it ended; empty if it said nothing.
    counters:
        What its present process has counted, by its own account.
    """

    name: str
    state: State
    pid: int | None = None
    since_ns: int = 0
    n_restarts: int = 0
    exit_code: int | None = None
    reason: str = ""
    counters: dict[str, float] = {}


class Child:
    """A service and its present process.

    Parameters
    ----------
    arguments:
        Further words of ``forebay serve ROLE NAME``.
    environment:
        Added to our own.
    """

    def __init__(self, role: str, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.role = role
        self.name = f"{role}.{name}"
        self._command = [sys.executable, "-m", "forebay", "serve", role, name, *arguments]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.is_ready = False
        self.was_ever_ready = False
        self.is_stopping = False
        self.exit_code: int | None = None
        self.reason = ""
        self._words = ""
        self._counters: dict[str, float] = {}
        self._last_pid = 0
        self._n_starts = 0
        self._n_failures = 0
        self._since_ns = 0
        self._started = 0.0
        self._restart_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def state(self) -> State:
        """See `ServiceReport`."""
        if self.is_stopping:
            return "stopped" if self._process is None else "stopping"
        if self._n_failures >= FAILING_AFTER:
            return "failing"
        if self._process is None:
            return "restarting" if self._n_starts else "waiting"
        return "ready" if self.is_ready else "starting"

    @property
    def report(self) -> ServiceReport:
        """How it is now."""
        return ServiceReport(
            name=self.name,
            state=self.state,
            pid=self.pid,
            since_ns=self._since_ns,
            n_restarts=max(0, self._n_starts - 1),
            exit_code=self.exit_code,
            reason=self.reason,
            counters=self._counters,
        )

    def start(self) -> None:
        """Start its process."""
        self._process = subprocess.Popen(
            [*self._command, "--parent", str(os.getpid())],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"} | self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._n_starts += 1
        self._started = time.monotonic()
        self._since_ns = time.time_ns()
        self.is_ready = False
        self._counters = {}
        say("started", service=self.name, pid=self._process.pid)

    def hear(self, pid: int, said: dict[str, str]) -> None:
        """Take what process `pid` said of its state, if it is or was this one's."""
        if pid == self.pid:
            self.is_ready = self.is_ready or said.get("READY") == "1"
            self.was_ever_ready = self.was_ever_ready or self.is_ready
            self._words = said.get("STATUS", self._words)
            if "COUNTERS" in said:
                with suppress(msgspec.DecodeError):  # then it is told again
                    self._counters = msgspec.json.decode(said["COUNTERS"], type=dict[str, float])
        elif pid == self._last_pid:  # last words, heard after the end
            self.reason = said.get("STATUS", self.reason)

    def look(self) -> bool:
        """Find out whether its process ended since the last look; if so, plan the next start."""
        age = time.monotonic() - self._started
        if self._process is None or (code := self._process.poll()) is None:
            if self.is_ready and age > CALM_S:
                self._n_failures = 0
            return False
        if age > CALM_S:
            self._n_failures = 0
        self._end(code)
        wait = BACKOFF_S[min(self._n_failures, len(BACKOFF_S) - 1)]
        self._n_failures += 1
        self._restart_at = time.monotonic() + wait
        return True

    @property
    def wait_s(self) -> float:
        """How long it is until its next start."""
        return max(0.0, self._restart_at - time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether it is to be started again now."""
        return self._process is None and self._n_starts > 0 and time.monotonic() >= self._restart_at

    @property
    def n_failures(self) -> int:
        """How often in a row it died before it had lived for `CALM_S`."""
        return self._n_failures

    def terminate(self) -> None:
        """Ask it to end."""
        self.is_stopping = True
        if self._process is not None and self.lives:
            self._process.send_signal(signal.SIGTERM)

    @property
    def lives(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float) -> bool:
        """Wait for the end that was asked for, or bring it about; whether it ended by itself as it should.

        One that never ran, or was asked before it was ready, need not end with 0.
        """
        if self._process is None:
            return self._n_starts == 0
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            say("did not stop in time, killed", service=self.name)
            self._process.kill()
            code = self._process.wait()
        was_ready = self.is_ready
        self._end(code)
        say("stopped", service=self.name, exit_code=code)
        return code == 0 or (code == -signal.SIGTERM and not was_ready)

    def _end(self, code: int) -> None:
        self._last_pid = self.pid or 0
        self._process = None
        self.is_ready = False
        self.exit_code = code
        self.reason, self._words = self._words or _name_signal(code), ""


def _name_signal(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else ""
