"""How jobs, runs and files look on a terminal, and as JSON."""

from __future__ import annotations

import json as json_text
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from forebay.cli.show import facts, size, some

if TYPE_CHECKING:
    from forebay.job import Job
    from forebay.run.operator import Operator
    from forebay.run.values import Plan, Update

_WIDE = 1000

STYLES = {
    "queued": "cyan",
    "running": "green",
    "cancelling": "yellow",
    "finished": "green",
    "failed": "red",
    "cancelled": "yellow",
}


def print_json(value: Any) -> None:
    """Print a value, or a sequence of them, as JSON."""
    print(json_text.dumps(msgspec.to_builtins(value)))


def moment(time_ns: int | None) -> str:
    """Return a time for people: UTC, to the second; empty for None."""
    return "" if time_ns is None else f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"


def source_of(job: Job) -> str:
    """Return what a job is about."""
    asked = job.parameters
    if sources := asked.get("sources"):
        return ", ".join(sources)
    return str(asked.get("name") or f"{len(asked.get('files', []))} files")


def progress_text(n_done: int, n_asked: int | None) -> str:
    """Return how far a job is."""
    return f"{n_done}" if n_asked is None else f"{n_done}/{n_asked}"


def table_of(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table without lines; what is too long for the terminal goes on below, nothing is cut."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table; for programs, which have no width, each row is one line."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    console.print(table_of(columns, rows))


def show_jobs(jobs: Sequence[Job]) -> None:
    """Print jobs, a line each."""
    rows = [
        (
            moment(job.created_ns),
            Text(job.state, style=STYLES[job.state]),
            job.kind,
            source_of(job),
            progress_text(job.n_done, job.n_asked),
            "" if job.run is None else f"{job.run}/{job.acquisition}",
            job.id,
            job.reason,
        )
        for job in jobs
    ]
    columns = ("asked", "state", "kind", "about", "done", "run", "id", "reason")
    print_table(columns, rows)


def show_plans(plans: Sequence[Plan]) -> None:
    """Print what a request would write."""
    console = Console()
    for plan in plans:
        rows = [
            ("source", f"{plan.source} on {plan.host}"),
            ("file", plan.file or "none"),
            ("asked", "until stopped" if plan.n_asked is None else f"{plan.n_asked} pulses"),
            ("at most", "nobody knows" if plan.most_bytes is None else size(plan.most_bytes)),
            ("free", size(plan.free_bytes)),
            ("remembered", plan.held or "nothing yet"),
        ]
        console.print(facts("Nothing was done; this would be:", rows), soft_wrap=True)


def print_ends(jobs: Sequence[Job], json: bool) -> int:
    """Print how jobs ended; return the exit code: 0 only if all finished and nothing is missing."""
    if json:
        print_json(jobs)
    else:
        for job in jobs:
            Console().print(facts("", list(_end_rows(job))), soft_wrap=True)
    return 0 if all(is_good(job) for job in jobs) else 1


def is_good(job: Job) -> bool:
    """Whether a job finished with all that was asked for."""
    if job.state != "finished":
        return False
    if any(source["missing"]["n"] for source in job.result.get("sources", {}).values()):
        return False
    if any(job.result.get(name) for name in ("lost", "restarts", "silent")):
        return False
    if set(job.parameters.get("channels", ())) & set(job.result.get("empty_channels", ())):
        return False
    return job.n_done >= (job.parameters.get("images") or 0)


def _end_rows(job: Job) -> Iterator[tuple[str, str]]:
    if text := _asked(job):
        yield "asked", text
    for source, account in job.result.get("sources", {}).items():
        missing = account["missing"]
        incomplete = [str(one["pulse_id"]) for one in account["incomplete"]]
        yield "source", source
        what = "messages" if "channels" in job.result else "images"
        yield "got", f"{account['got']} {what} of {account['expected']} pulses"
        yield "missing", some(missing["n"], missing["ranges"])
        yield "incomplete", some(account["n_incomplete"], incomplete)
    if "channels" in job.result:
        yield "channels", str(job.result["channels"])
    if empty := job.result.get("empty_channels"):
        yield "no values", some(len(empty), empty)
    if "unit" in job.result:
        yield from _stream_rows(job.result)
    if "returned" in job.result:
        yield "returned", json_text.dumps(job.result["returned"])
    yield "ended", job.reason or "not yet"
    if "file" in job.result:
        yield "file", job.result["file"]
        yield "size", size(job.result["bytes"])
    if job.run is not None:
        yield "run", f"{job.run}, acquisition {job.acquisition} of proposal {job.proposal}"
    yield "job", f"{job.id}: {job.state}"


def _stream_rows(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what came of a camera or of boards: no pulse of these is expected before it comes."""
    yield "got", f"{result['got']} {result['unit']}"
    for name in ("incomplete", "not_written", "lost", "restarts"):
        if result[name]:
            yield name.replace("_", " "), str(result[name])
    if silent := result.get("silent"):
        yield "silent", ", ".join(silent)


def _asked(job: Job) -> str:
    """Return what a recording was asked for; empty for other jobs."""
    asked = job.parameters
    if asked.get("pulses"):
        return f"pulses {asked['pulses']}"
    if asked.get("images"):
        return f"{asked['images']} images"
    if asked.get("seconds"):
        return f"{asked['seconds']:g} s"
    return "until stopped" if job.kind == "record" else ""


def update_text(update: Update) -> Text:
    """Return a piece of news in one line."""
    body = update.body
    state = str(body.get("state", ""))
    line = Text(f"{moment(update.time_ns)}  {update.topic:7}  ", style="default")
    line.append(f"{state:10}", style=STYLES.get(state, "default"))
    if update.topic == "job":
        line.append(
            f"  {progress_text(body.get('n_done', 0), body.get('n_asked')):>12}  {update.key}  {update.id}"
        )
    else:
        line.append(f"  {update.key}")
    if body.get("reason"):
        line.append(f"  {body['reason']}")
    return line


@contextmanager
def progress_of(operator: Operator, jobs: Sequence[Job]) -> Iterator[None]:
    """Show how far jobs are while the body runs, if somebody looks; a thread listens."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    bodies: dict[str, dict[str, Any]] = {job.id: msgspec.to_builtins(job) for job in jobs}
    over = threading.Event()
    began = time.monotonic()

    def listen() -> None:
        with operator.watch() as news:
            while not over.is_set():
                if (update := news.read(_LOOK_S)) is not None and update.id in bodies:
                    bodies[update.id] = bodies[update.id] | update.body

    thread = threading.Thread(target=listen, name="progress")
    thread.start()
    try:
        with Live(
            get_renderable=lambda: _bars(jobs, bodies, time.monotonic() - began),
            console=console,
            refresh_per_second=5,
        ):
            yield
    finally:
        over.set()
        thread.join()


_LOOK_S = 0.2


def _bars(jobs: Sequence[Job], bodies: dict[str, dict[str, Any]], seconds: float) -> Table:
    table = Table.grid(padding=(0, 2))
    for job in jobs:
        body = bodies[job.id]
        told = body.get("facts", {})
        hurt = told.get("n_incomplete", 0) + told.get("n_lost", 0)
        bar = ProgressBar(total=body["n_asked"], completed=body["n_done"], width=16)
        table.add_row(
            source_of(job),
            bar if body["n_asked"] is not None else "",
            Text(body["state"], style=STYLES[body["state"]]),
            progress_text(body["n_done"], body["n_asked"]),
            f"{seconds:.0f} s",
            Text(f"{hurt} incomplete or lost", style="yellow") if hurt else "",
        )
    return table
