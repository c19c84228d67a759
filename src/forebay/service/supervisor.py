"""The supervisor: starts the services of one host in order, restarts what dies, stops in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from forebay.config import Config, DetectorConfig
from forebay.errors import ServiceError
from forebay.runtime import private_directory
from forebay.service.process import notify, say
from forebay.service.roles import DETECTOR_ROLES

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits before the first, second ... restart in a row; the last one for all further ones."""

CALM_S = 20.0
"""A service that lived so long starts again with the shortest wait."""

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05


@dataclass(slots=True)
class Service:
    """One supervised process.

    Attributes
    ----------
    role, detector:
        What it does and for which detector.
    n_restarts:
        How often it was started again.
    failures:
        Restarts in a row, each after less than `CALM_S` seconds.
    """

    role: str
    detector: str
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    n_restarts: int = 0
    failures: int = 0
    started: float = 0.0
    restart_at: float = 0.0
    exit_codes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name in logs."""
        return f"{self.role}.{self.detector}"


def _roles(detector: DetectorConfig) -> list[str]:
    """Return the services of one detector in the order in which data walk through them."""
    wanted = {"live": detector.live is not None, "publish": bool(detector.streams)}
    return [role for role in DETECTOR_ROLES if wanted.get(role, True)]


class Supervisor:
    """Runs the services that a configuration asks for.

    Parameters
    ----------
    config_path:
        File that the services read; they must find what `config` says.
    """

    def __init__(self, config: Config, config_path: Path) -> None:
        self._config_path = config_path.resolve()
        self._notifications = private_directory(config.runtime_dir) / f"supervisor-{os.getpid()}.notify"
        self.services = [
            Service(role, name) for name, detector in config.detectors.items() for role in _roles(detector)
        ]
        self.services += [Service("epics", name) for name in config.epics]

    def run(self, stop: threading.Event) -> int:
        """Start everything, keep it alive until `stop`, stop in order; return the exit code.

        0 if every service ended by itself with 0 when it was asked to.

        Raises
        ------
        ServiceError
            If a service does not get ready at the first start: a configuration that cannot work.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as inbox:
            self._notifications.unlink(missing_ok=True)
            inbox.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            inbox.bind(str(self._notifications))
            inbox.setblocking(False)
            try:
                for service in self.services:
                    self._start(service)
                    self._wait_ready(service, inbox, stop)
                if not stop.is_set():
                    notify("READY=1")
                    say("all services are ready", n_services=len(self.services))
                while not stop.wait(_POLL_S):
                    self._hear(inbox)
                    for service in self.services:
                        self._look_after(service)
            finally:
                clean = self._stop_all()
                self._notifications.unlink(missing_ok=True)
        return 0 if clean else 1

    def _start(self, service: Service) -> None:
        command = [sys.executable, "-m", "forebay", "serve", service.role, service.detector]
        command += ["--config", str(self._config_path), "--parent", str(os.getpid())]
        environment = os.environ | {"NOTIFY_SOCKET": str(self._notifications), "OPENBLAS_NUM_THREADS": "1"}
        service.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        service.ready = False
        service.started = time.monotonic()
        say("started", service=service.name, pid=service.process.pid)

    def _wait_ready(self, service: Service, inbox: socket.socket, stop: threading.Event) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        while not service.ready and not stop.is_set():
            assert service.process is not None
            if (code := service.process.poll()) is not None:
                raise ServiceError(
                    f"{service.name} ended with exit code {code} before it was ready.",
                    "Its last log line says why.",
                )
            if time.monotonic() > end:
                raise ServiceError(f"{service.name} was not ready within {READY_TIMEOUT_S:g} s.")
            stop.wait(_POLL_S)
            self._hear(inbox)

    def _hear(self, inbox: socket.socket) -> None:
        """Take notifications; the kernel says which process each came from."""
        size = socket.CMSG_SPACE(12)
        while True:
            try:
                message, ancillary, _, _ = inbox.recvmsg(4096, size)
            except BlockingIOError:
                return
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    pid = int.from_bytes(data[:4], sys.byteorder)
                    for service in self.services:
                        if service.process and service.process.pid == pid and b"READY=1" in message:
                            service.ready = True

    def _look_after(self, service: Service) -> None:
        process = service.process
        if process is not None and (code := process.poll()) is not None:
            service.process = None
            service.ready = False
            service.exit_codes.append(code)
            if time.monotonic() - service.started > CALM_S:
                service.failures = 0
            wait = BACKOFF_S[min(service.failures, len(BACKOFF_S) - 1)]
            service.failures += 1
            service.restart_at = time.monotonic() + wait
            say(
                "died, will be restarted",
                service=service.name,
                exit_code=code,
                failures=service.failures,
                wait_s=wait,
            )
        elif process is None and time.monotonic() >= service.restart_at:
            service.n_restarts += 1
            self._start(service)

    def _stop_all(self) -> bool:
        """Stop in the order of the data, so that each service drains what the one before it sent."""
        clean = True
        for service in self.services:
            process = service.process
            if process is None:
                clean = False
                continue
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                say("did not stop, killed", service=service.name, waited_s=STOP_TIMEOUT_S)
                process.kill()
                code = process.wait()
            say("stopped", service=service.name, exit_code=code)
            clean = clean and (code == 0 or (code == -signal.SIGTERM and not service.ready))
        return clean
