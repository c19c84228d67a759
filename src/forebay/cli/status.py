"""The command ``forebay status``: services and jobs in a live table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli.control import DEFAULT_CONFIG, ConfigOption, JsonOption, warn_of_others

if TYPE_CHECKING:
    from rich.console import RenderableType

    from forebay.config import Config
    from forebay.run.operator import Operator
    from forebay.service.overview import Overview

_HEAR_S = 1.3
_PATIENCE_S = 2.0
_LOOK_S = 1.0
_STYLES = {
    "ready": "green",
    "alone": "green",
    "failing": "bold red",
    "not running": "red",
    "silent": "red",
    "restarting": "yellow",
    "starting": "yellow",
}


def status(
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and exit.")] = False,
) -> None:
    """Show how services and jobs stand, until Ctrl-C; once where the output is no terminal.

    With --once or --json, exit code 1 says that a service does not do its work.
    """
    import msgspec
    from rich.console import Console
    from rich.live import Live

    from forebay.config import load
    from forebay.service.overview import look
    from forebay.service.process import stop_on_signal

    loaded = load(config)
    warn_of_others(loaded, config)
    console = Console()
    if json or once or not console.is_terminal:
        with _operator(loaded) as (operator, reason):
            overview = look(loaded, operator, reason)
        if json:
            print(msgspec.json.format(msgspec.json.encode(overview)).decode())
        else:
            console.print(table_of(overview))
        raise SystemExit(0 if overview.is_good else 1)
    with stop_on_signal() as stop, Live(console=console, auto_refresh=False) as live:
        while not stop.is_set():
            with _operator(loaded) as (operator, reason):
                while True:
                    live.update(table_of(look(loaded, operator, reason)), refresh=True)
                    if stop.wait(_LOOK_S) or operator is None:
                        break  # to ask the bus again


@contextmanager
def _operator(config: Config) -> Iterator[tuple[Operator | None, str]]:
    """Lend the operator, or why there is none: status is for days when something does not run."""
    from forebay.errors import ForebayError
    from forebay.run.bus import connect
    from forebay.run.operator import Operator
    from forebay.store.catalog import open_catalog

    with ExitStack() as stack:
        try:
            bus = connect(config, name="status", patience_s=_PATIENCE_S)
            stack.callback(bus.close)
            catalog = open_catalog(config)
            stack.callback(catalog.close)
            operator = stack.enter_context(Operator(config, bus, catalog, who="status"))
            time.sleep(_HEAR_S)  # by then, everybody has said something
        except ForebayError as error:
            yield None, str(error)
        else:
            yield operator, ""


def table_of(overview: Overview) -> RenderableType:
    """Return what people see."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    services = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("host", "service", "state", "pid", "for", "restarts", ""):
        is_number = title in ("pid", "for", "restarts")
        services.add_column(
            title, justify="right" if is_number else "left", no_wrap=bool(title), overflow="fold"
        )
    for line in overview.services:
        services.add_row(
            line.host,
            line.name,
            Text(line.state, style=_STYLES.get(line.state, "")),
            "" if line.pid is None else str(line.pid),
            _age(line.since_ns) if line.pid is not None else "",
            str(line.n_restarts) if line.n_restarts else "",
            Text(line.detail),
        )
    if overview.bus:
        return Group(services, Text(f"\nJobs are not known: {overview.bus}", style="yellow"))
    counts = ", ".join(f"{n} {state}" for state, n in sorted(overview.n_jobs.items())) or "none"
    jobs = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("job", "kind", "state", "done", "of"):
        jobs.add_column(title, justify="right" if title in ("done", "of") else "left")
    for job in overview.jobs[:20]:
        jobs.add_row(job.id, job.kind, job.state, str(job.n_done), str(job.n_asked or ""))
    parts: list[RenderableType] = [services, Text(f"\nJobs: {counts}")]
    return Group(*parts, *([jobs] if overview.jobs else []))


def _age(since_ns: int) -> str:
    """Return how long ago that was, for people."""
    seconds = max(0.0, time.time() - since_ns / 1e9)
    for unit, n_seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * n_seconds:
            return f"{seconds / n_seconds:.0f} {unit}"
    return f"{seconds:.0f} s"
