"""Commands for proposals: whose data there are, and the folder that they go to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli.control import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from forebay.store.catalog import Proposal

proposal_app = typer.Typer(help="Proposals: whose data there are.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the proposal.")]


@proposal_app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List proposals with their folders."""
    from forebay.cli.control import operator_of

    with operator_of(config, only_books=True) as operator:
        _show(operator.proposals(), json)


@proposal_app.command("add")
def add(
    name: NameArgument,
    directory: Annotated[Path, typer.Argument(help="Folder below which its files lie; it must exist.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Add a proposal, or give one that is known another folder; its numbers go on."""
    from forebay.cli.control import operator_of

    with operator_of(config, only_books=True) as operator:
        _show([operator.put_proposal(name, directory.absolute())], json)


@proposal_app.command("close")
def close(name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Let nothing be added to a proposal any more."""
    from forebay.cli.control import operator_of

    with operator_of(config, only_books=True) as operator:
        _show([operator.close_proposal(name)], json)


def _show(found: list[Proposal], json: bool) -> None:
    from forebay.cli.job_view import moment, print_json, print_table

    if json:
        print_json(found)
        return
    rows = [
        (one.name, one.directory, str(one.last_run), moment(one.closed_ns) if one.closed else "")
        for one in found
    ]
    print_table(("proposal", "folder", "last run", "closed"), rows)
