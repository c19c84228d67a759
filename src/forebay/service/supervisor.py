"""The supervisor: starts the services of one host in order, restarts what dies, stops in order."""

from __future__ import annotations

import logging
import threading
import time
from itertools import groupby
from pathlib import Path

from forebay.config import Config
from forebay.errors import ServiceError
from forebay.service.board import Teller, check_alone
from forebay.service.child import FAILING_AFTER, Child, ServiceReport
from forebay.service.inbox import Inbox
from forebay.service.process import LogFormat, notify, say
from forebay.service.roles import ROLES, services_of

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05


class Supervisor:
    """Runs the services that a configuration asks for.

    Parameters
    ----------
    config_path:
        File that the services read; they must find what `config` says.
    log_format:
        In which form they write their log.
    """

    def __init__(self, config: Config, config_path: Path, log_format: LogFormat = "line") -> None:
        self._config = config
        self._config_path = config_path.resolve()
        self._log_format = log_format
        self._children: list[Child] = []

    def reports(self) -> list[ServiceReport]:
        """Return how every service is, in the order of their start."""
        return [child.report for child in self._children]

    def run(self, stop: threading.Event) -> int:
        """Start everything, keep it alive until `stop`, stop in order; return the exit code.

        0 if every service ended by itself with 0 when it was asked to.

        Raises
        ------
        ServiceError
            If a service does not get ready at the first start: a configuration that cannot work; or another
            supervisor has the hub of the same runtime directory.
        """
        if any(role == "hub" for role, _ in services_of(self._config)):
            check_alone(self._config, self._config_path)
        with Inbox(self._config.runtime_dir) as inbox:
            environment = {"NOTIFY_SOCKET": str(inbox.path)}
            arguments = ["--config", str(self._config_path), "--log-format", self._log_format]
            services = services_of(self._config)
            self._children = [Child(role, name, arguments, environment) for role, name in services]
            has_bus = self._config.bus != "embedded" or any(role == "hub" for role, _ in services)
            teller = Teller(self._config, self._config_path, self.reports, uses_bus=has_bus)
            teller.start()
            try:
                self._start_all(inbox, stop)
                if not stop.is_set():
                    notify("READY=1")
                    say("all services are ready", n_services=len(self._children))
                while not stop.wait(_POLL_S):
                    self._hear(inbox)
                    for child in self._children:
                        self._look_after(child, inbox)
            finally:
                notify("STOPPING=1")
                clean = self._stop_all(inbox, teller)
        return 0 if clean else 1

    def _start_all(self, inbox: Inbox, stop: threading.Event) -> None:
        for _, together in groupby(self._children, key=lambda child: ROLES[child.role].starts):
            group = list(together)
            for child in group:
                if not stop.is_set():
                    child.start()
            self._wait_ready(group, inbox, stop)

    def _wait_ready(self, group: list[Child], inbox: Inbox, stop: threading.Event) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        while not stop.is_set():
            self._hear(inbox)
            for child in self._children:
                died = self._look_after(child, inbox)
                if died and not child.was_ever_ready:
                    raise ServiceError(
                        f"{child.name} ended with exit code {child.exit_code} before it was ready.",
                        child.reason or "Its last log line says why.",
                    )
            waiting = [child.name for child in group if not child.is_ready]
            if not waiting:
                return
            if time.monotonic() > end:
                names = ", ".join(waiting)
                raise ServiceError(f"{names}: not ready within {READY_TIMEOUT_S:g} s.", "Look into its log.")
            stop.wait(_POLL_S)

    def _hear(self, inbox: Inbox) -> None:
        """Take what services say."""
        for pid, said in inbox.read():
            for child in self._children:
                child.hear(pid, said)

    def _look_after(self, child: Child, inbox: Inbox) -> bool:
        """Start again what is due; whether the service was found dead just now."""
        died = child.look()
        if died:
            self._hear(inbox)  # its last words
            is_failing = child.n_failures >= FAILING_AFTER
            event = "dies again and again" if is_failing else "died, will be restarted"
            say(
                event if child.was_ever_ready else "died before it was ready",
                logging.ERROR if is_failing else logging.WARNING,
                service=child.name,
                exit_code=child.exit_code,
                failures=child.n_failures,
                wait_s=child.wait_s,
                reason=child.reason or "unknown",
            )
        elif child.is_due:
            child.start()
        return died

    def _stop_all(self, inbox: Inbox, teller: Teller) -> bool:
        """Stop in the order of `Role.stops`; those of one number at the same time, within one time."""
        clean = True
        in_order = sorted(self._children, key=lambda child: ROLES[child.role].stops)
        for _, together in groupby(in_order, key=lambda child: ROLES[child.role].stops):
            group = list(together)
            if any(child.role == "hub" for child in group):
                teller.close()  # while there is somebody to listen
            for child in group:
                child.terminate()
            end = time.monotonic() + STOP_TIMEOUT_S
            while any(child.lives for child in group) and time.monotonic() < end:
                self._hear(inbox)  # else who says something would wait for room in our socket
                time.sleep(_POLL_S)
            for child in group:
                clean = child.wait(max(0.0, end - time.monotonic())) and clean
            self._hear(inbox)  # last words
        teller.close()
        return clean
