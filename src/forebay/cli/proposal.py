"""Commands for proposals: whose data there are, and the folder that they go to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli.control import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from forebay.store.catalog import Catalog, Proposal

proposal_app = typer.Typer(help="Proposals: whose data there are.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the proposal.")]


@contextmanager
def _catalog(config: Path) -> Iterator[Catalog]:
    from forebay.config import load
    from forebay.store.catalog import open_catalog

    catalog = open_catalog(load(config))
    try:
        yield catalog
    finally:
        catalog.close()


@proposal_app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List proposals with their folders."""
    with _catalog(config) as catalog:
        _show(catalog.proposals(), json)


@proposal_app.command("add")
def add(
    name: NameArgument,
    directory: Annotated[Path, typer.Argument(help="Folder below which its files lie; it must exist.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Add a proposal, or give one that is known another folder; its numbers go on."""
    from pydantic import TypeAdapter, ValidationError

    from forebay.config.base import Name
    from forebay.errors import ConfigError

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise ConfigError(
            f"{name!r} cannot be the name of a proposal.", "Use 1 to 64 letters, digits, '.', '_' and '-'."
        ) from error
    if not directory.is_dir():
        raise ConfigError(f"There is no folder {directory}.", "Make it, with the rights that its users need.")
    with _catalog(config) as catalog:
        _show([catalog.put_proposal(name, directory.resolve())], json)


@proposal_app.command("close")
def close(name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Let nothing be added to a proposal any more."""
    with _catalog(config) as catalog:
        _show([catalog.close_proposal(name)], json)


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
