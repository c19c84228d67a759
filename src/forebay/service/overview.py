"""How everything stands: what supervisors wrote here, what the bus tells of all hosts, what is missing."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from forebay.config import Config
from forebay.run.operator import Operator
from forebay.run.owner import host_name
from forebay.run.values import ServiceStatus
from forebay.service.board import read_boards
from forebay.service.child import ServiceReport
from forebay.service.roles import services_of

SILENT_S = 5.0
"""A service of which nothing was heard for so long is silent; it tells every second."""


class ServiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One service.

    Attributes
    ----------
    host, name:
        Where, and ``ROLE.NAME``.
    state:
        As in `forebay.service.child.ServiceReport`; *silent* if nothing was heard of it lately, *not running*
        if the configuration asks for it and no supervisor has it, *alone* for a worker without supervisor.
    detail:
        What it does now, or why it does not.
    """

    host: str
    name: str
    state: str
    pid: int | None = None
    since_ns: int = 0
    n_restarts: int = 0
    detail: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it does its work."""
        return self.state in ("ready", "alone")


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance.

    Attributes
    ----------
    services:
        Those of this host first, in the order in which they start.
    bus:
        Why the bus cannot be asked; empty if it can.
    n_jobs:
        How many jobs are in each state; empty without a bus.
    jobs:
        Jobs that wait or run, newest first, as `forebay.job.Job`.
    """

    services: list[ServiceLine]
    bus: str = ""
    n_jobs: dict[str, int] = {}
    jobs: list[Any] = []

    @property
    def is_good(self) -> bool:
        """Whether all services do their work."""
        return all(line.is_good for line in self.services)


def look(config: Config, operator: Operator | None, bus: str = "") -> Overview:
    """Find out how everything stands now.

    Parameters
    ----------
    operator:
        Who knows of jobs and other hosts; None if there is nobody, and `bus` says why.
    """
    here = host_name()
    written = [line for board in read_boards(config.runtime_dir) for line in board.services]
    lines = {f"{here}.{report.name}": _line(here, report) for report in written}
    status = None if operator is None else operator.status()
    for heard in [] if status is None else status.services:
        _add(lines, heard)
    for role, name in services_of(config):
        lines.setdefault(
            f"{here}.{role}.{name}", ServiceLine(host=here, name=f"{role}.{name}", state="not running")
        )
    services = sorted(lines.values(), key=lambda line: line.host != here)
    if status is None:
        return Overview(services=services, bus=bus)
    return Overview(services=services, n_jobs=status.n_jobs, jobs=status.jobs)


def _line(host: str, report: ServiceReport) -> ServiceLine:
    ended = "" if report.exit_code is None else f"last ended with exit code {report.exit_code}"
    return ServiceLine(
        host=host,
        name=report.name,
        state=report.state,
        pid=report.pid,
        since_ns=report.since_ns,
        n_restarts=report.n_restarts,
        detail=": ".join(part for part in (ended, report.reason) if part),
    )


def _add(lines: dict[str, ServiceLine], heard: ServiceStatus) -> None:
    """Add what was heard of a service to what is known."""
    topic, _, key = heard.key.partition(".")
    is_silent = time.time_ns() - heard.heard_ns > SILENT_S * 1e9
    if topic == "service":
        if key not in lines:
            try:
                report = msgspec.convert(heard.detail, ServiceReport)
            except msgspec.ValidationError:  # of another version
                return
            lines[key] = _line(key.removesuffix(f".{report.name}"), report)
            if is_silent and report.state != "stopped":
                lines[key] = msgspec.structs.replace(lines[key], state="silent")
    elif topic == "worker" and not is_silent:
        job = heard.detail.get("job")
        doing = f"job {job}" if job else str(heard.detail.get("state", ""))
        if key in lines:
            if lines[key].state == "ready":
                lines[key] = msgspec.structs.replace(lines[key], detail=doing)
        else:
            host, role, name = key.rsplit(".", 2)
            lines[key] = ServiceLine(host=host, name=f"{role}.{name}", state="alone", detail=doing)
