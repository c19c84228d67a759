"""The commands about the catalogue itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from forebay.cli.control import DEFAULT_CONFIG, ConfigOption, JsonOption

catalog_app = typer.Typer(help="The catalogue of runs and files.", no_args_is_help=True)


@catalog_app.command()
def rebuild(
    directory: Annotated[Path, typer.Argument(help="Folder of a proposal: the directory runs lies in it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Make the catalogue of a proposal again from the JSON files beside its data."""
    import msgspec

    from forebay.config import load
    from forebay.store.catalog import open_catalog

    catalog = open_catalog(load(config))
    try:
        done = catalog.rebuild(directory)
    finally:
        catalog.close()
    if json:
        print(msgspec.json.encode(done).decode())
    else:
        print(
            f"Proposal {done.proposal} in {catalog.where}: {done.n_runs} runs, "
            f"{done.n_acquisitions} acquisitions, {done.n_jobs} jobs, {done.n_files} files."
        )
        for problem in done.problems:
            print(f"Cannot be read: {problem}", file=sys.stderr)
    raise SystemExit(1 if done.problems else 0)
