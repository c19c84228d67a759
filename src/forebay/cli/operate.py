"""The commands over the operator that look, wait and end: jobs, watch, cancel, runs, files, routines."""

from __future__ import annotations

import json as json_text
from typing import Annotated

import typer

from forebay.cli.control import (
    DEFAULT_CONFIG,
    ConfigOption,
    DetachOption,
    JsonOption,
    ProposalOption,
)

LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="Most lines.")]
JobArgument = Annotated[str, typer.Argument(help="Id of the job, as forebay jobs shows it.")]


def jobs(
    config: ConfigOption = DEFAULT_CONFIG,
    proposal: Annotated[
        str | None, typer.Option("--proposal", "-p", help="Only those of this proposal.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
    limit: LimitOption = 20,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first: those that wait or run."""
    from forebay.cli.control import operator_of
    from forebay.cli.job_view import print_json, show_jobs
    from forebay.run.ending import GOING_ON

    with operator_of(config, only_books=True) as operator:
        found = operator.jobs(states=() if all_ else GOING_ON, proposal=proposal, limit=limit)
    if json:
        print_json(found)
    else:
        show_jobs(found)


def watch(
    job: Annotated[str | None, typer.Argument(help="Id of a job: only it, until it ends.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show news as they come, until Ctrl-C; of one job, until it ends: its exit code is that of the job."""
    from rich.console import Console

    from forebay.cli.control import operator_of, see_through
    from forebay.cli.job_view import print_ends, print_json, update_text
    from forebay.service.process import stop_on_signal

    with operator_of(config) as operator:
        if job is not None:
            raise SystemExit(print_ends(see_through(operator, [operator.job(job)], quiet=json), json))
        console = Console()
        with operator.watch() as news, stop_on_signal() as stop:
            while not stop.is_set():
                update = news.read(0.2)
                if update is not None and json:
                    print_json(update)
                elif update is not None:
                    console.print(update_text(update), soft_wrap=True)


def cancel(
    job: JobArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    detach: DetachOption = False,
    json: JsonOption = False,
) -> None:
    """End a job; what a recording has until now is kept. Exit code 0 if it is cancelled then."""
    from forebay.cli.control import operator_of, see_through
    from forebay.cli.job_view import print_ends, print_json, show_jobs

    with operator_of(config) as operator:
        asked = operator.cancel(job)
        if not detach:
            (ended,) = see_through(operator, [asked], quiet=True)
            print_ends([ended], json)
            raise SystemExit(0 if ended.state == "cancelled" else 1)
    if json:
        print_json([asked])
    else:
        show_jobs([asked])


def runs(
    config: ConfigOption = DEFAULT_CONFIG,
    proposal: ProposalOption = "default",
    limit: LimitOption = 20,
    json: JsonOption = False,
) -> None:
    """List the runs of a proposal, newest first."""
    from forebay.cli.control import operator_of
    from forebay.cli.job_view import moment, print_json, print_table

    with operator_of(config, only_books=True) as operator:
        found = operator.runs(proposal, limit=limit)
    if json:
        print_json(found)
        return
    rows = [
        (
            str(run.number),
            run.state,
            moment(run.started_ns),
            moment(run.ended_ns),
            str(run.last_acquisition),
            run.tag,
            run.comment,
        )
        for run in found
    ]
    columns = ("run", "state", "began", "ended", "acquisitions", "tag", "comment")
    print_table(columns, rows)


def files(
    config: ConfigOption = DEFAULT_CONFIG,
    proposal: Annotated[
        str | None, typer.Option("--proposal", "-p", help="Only those of this proposal.")
    ] = None,
    run: Annotated[int | None, typer.Option(help="Only those of this run of the proposal.")] = None,
    job: Annotated[str | None, typer.Option(help="Only those of this job.")] = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
) -> None:
    """List the files that are booked, newest first."""
    from forebay.cli.control import operator_of
    from forebay.cli.job_view import moment, print_json, print_table
    from forebay.cli.show import size

    with operator_of(config, only_books=True) as operator:
        found = operator.files(proposal, run=run, job_id=job, limit=limit)
    if json:
        print_json(found)
        return
    rows = [
        (
            moment(file.created_ns),
            "" if file.run is None else f"{file.run}/{file.acquisition}",
            file.source,
            f"{file.n_got}/{file.n_expected}",
            size(file.n_bytes),
            file.checked or "not checked",
            file.path,
        )
        for file in found
    ]
    columns = ("booked", "run", "source", "got", "size", "checked", "path")
    print_table(columns, rows)


def routine(
    name: Annotated[str | None, typer.Argument(help="Name of the routine; lists them if not given.")] = None,
    argument: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values are JSON, or else text.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    detach: DetachOption = False,
    json: JsonOption = False,
) -> None:
    """Run a routine that the configuration registers."""
    from rich.console import Console

    from forebay.cli.control import operator_of
    from forebay.cli.record import ask
    from forebay.cli.show import facts

    if name is None:
        with operator_of(config) as operator:
            found = operator.routines()
        if json:
            print(json_text.dumps(found))
        else:
            Console().print(facts("", list(found.items())), soft_wrap=True)
        return
    arguments = dict(_pair(one) for one in argument or ())
    about = {"proposal": "default", "run": None, "id": None, "deadline_s": None}
    parameters = {"name": name, "arguments": arguments}
    raise SystemExit(ask("routine", parameters, about, config, dry_run=False, detach=detach, json=json))


def _pair(text: str) -> tuple[str, object]:
    from forebay.errors import ConfigError

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"{text!r} is not KEY=VALUE.", "E.g. threshold=5 or name=dark.")
    try:
        return key, json_text.loads(value)
    except ValueError:
        return key, value
