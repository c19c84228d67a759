"""What the commands over the operator share: reaching it, asking, waiting, Ctrl-C."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import threading

    from forebay.config import Config
    from forebay.job import Job
    from forebay.run.operator import Operator

DEFAULT_CONFIG = Path("forebay.yaml")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="Configuration file (YAML).", envvar="FOREBAY_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ProposalOption = Annotated[
    str, typer.Option("--proposal", "-p", help="Whose data they are.", envvar="FOREBAY_PROPOSAL")
]
PlanOption = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, say what would be written, and do nothing.")
]
DetachOption = Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for the end.")]
IdOption = Annotated[
    str | None, typer.Option("--id", help="Name the request; one name is one request, asked once or often.")
]
RunOption = Annotated[int | None, typer.Option(help="Add to this run; a new one if not given.")]
DeadlineOption = Annotated[
    float | None, typer.Option("--deadline", help="End, or fail, so many seconds from now.")
]

_CONNECT_S = 3.0
_LOOK_S = 0.2


@contextmanager
def operator_of(config: Path, hint: str = "", *, only_books: bool = False) -> Iterator[Operator]:
    """Lend the operator of a configuration; `hint` says what could be done where the bus is away.

    With `only_books` nothing but the catalogue is asked, which can be while nothing runs, if there is one.

    Raises
    ------
    BusError, CatalogError
        If nothing runs that could be asked.
    """
    from forebay.config import load
    from forebay.errors import BusError, CatalogError
    from forebay.run.bus import connect
    from forebay.run.operator import Operator
    from forebay.run.watch import Roll
    from forebay.store.catalog import open_catalog
    from forebay.store.catalog.opening import sqlite_path

    loaded = load(config)
    books = sqlite_path(loaded.state_dir.absolute())
    if only_books and loaded.catalog == "sqlite" and not books.exists():
        raise CatalogError(f"Nothing is booked yet: there is no {books}.", "forebay run CONFIG makes it.")
    try:
        bus = connect(loaded, name="forebay", patience_s=_CONNECT_S, at_once=not only_books)
    except BusError as error:
        error.todo = f"{error.todo} {hint}".strip()
        raise
    try:
        catalog = open_catalog(loaded)
        try:
            warn_of_others(loaded, config)
            roll = Roll(None) if only_books else None
            with Operator(loaded, bus, catalog, who=getpass.getuser(), roll=roll) as operator:
                yield operator
        finally:
            catalog.close()
    finally:
        bus.close()


def warn_of_others(loaded: Config, config: Path) -> None:
    """Say so if what runs here was started with another configuration: it would do what that one says."""
    from forebay.service.board import others

    for board in others(loaded, config) if loaded.bus == "embedded" else ():
        print(
            f"Note: what runs here was started with {board.config}, not with {config.resolve()}. "
            "Two that run side by side need each a runtime_dir and a state_dir of its own.",
            file=sys.stderr,
        )


def see_through(
    operator: Operator,
    jobs: Sequence[Job],
    *,
    quiet: bool,
    ends_with_us: bool = False,
    asked_to_stop: threading.Event | None = None,
) -> list[Job]:
    """Wait until all jobs have ended, with a line for each on the terminal; return them as they stand.

    Parameters
    ----------
    ends_with_us:
        Whether Ctrl-C says that it is enough: then the recordings end. Otherwise they go on without us, and
        we say how to find and to cancel them.
    asked_to_stop:
        Set by Ctrl-C, if the caller listens for it already.
    """
    from forebay.cli.job_view import progress_of
    from forebay.service.process import stop_on_signal

    waiting = [job.id for job in jobs]
    listening = stop_on_signal() if asked_to_stop is None else nullcontext(asked_to_stop)
    with listening as stop, nullcontext() if quiet else progress_of(operator, jobs):
        while waiting and not stop.is_set():
            waiting = [one for one in waiting if not operator.wait(one, _LOOK_S).has_ended]
        if waiting and ends_with_us:
            _enough(operator, waiting)
    found = [operator.job(job.id) for job in jobs]
    for job in found:
        if not job.has_ended:
            print(
                f"Job {job.id} goes on. See it: forebay watch {job.id}   End it: forebay cancel {job.id}",
                file=sys.stderr,
            )
    return found


def _enough(operator: Operator, waiting: Sequence[str], patience_s: float = 60.0) -> None:
    """End recordings as finished, and wait for their files; again and again, as the bus may lose a word."""
    from forebay.errors import StateError

    for job_id in waiting:
        for _ in range(int(patience_s)):
            try:
                job = operator.job(job_id)
                operator.cancel(job_id) if job.state == "queued" else operator.finish(job_id)
            except StateError:
                break  # it has ended
            if operator.wait(job_id, 1.0).has_ended:
                break
