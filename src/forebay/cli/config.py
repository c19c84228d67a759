"""Commands that look at configurations."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from forebay.config import Reading

config_app = typer.Typer(help="Look at configurations.", no_args_is_help=True)

FileArgument = Annotated[
    Path, typer.Argument(help="Configuration file (YAML).", envvar="FOREBAY_CONFIG", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT = Path("forebay.yaml")


@config_app.command("check")
def check(file: FileArgument = DEFAULT, json: JsonOption = False) -> None:
    """Read a configuration, with the environment: every mistake is named. Exit code 1 if there is one."""
    from forebay.config import read

    reading = read(file)
    if reading.is_indiscreet:
        print(f"{file} holds a password and others may read it: chmod 600 {file}", file=sys.stderr)
    if json:
        print(json_text.dumps({"file": str(file), "ok": True, "variables": [*reading.variables.values()]}))
        return
    print(f"{file}: right{_contents(reading)}.")
    if reading.variables:
        print(f"From the environment: {', '.join(sorted(reading.variables.values()))}.")


def _contents(reading: Reading) -> str:
    config = reading.config
    sections = ("detectors", "epics", "bsread", "cameras", "inlets", "boards")
    parts = {f"{key} {', '.join(getattr(config, key))}" for key in sections if getattr(config, key)}
    return f" ({'; '.join(sorted(parts))})" if parts else ", and nothing in it runs"


@config_app.command("schema")
def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    from forebay.config import Config

    print(json_text.dumps(Config.model_json_schema(), indent=2))


@config_app.command("show")
def show(file: FileArgument = DEFAULT, json: JsonOption = False) -> None:
    """Print every value with where it comes from: file and line, environment, or default. No passwords."""
    from forebay.config import read
    from forebay.config.keys import leaves

    reading = read(file)
    found = [
        (".".join(map(str, place)), value, reading.origin(place))
        for place, value in leaves(reading.config.model_dump(mode="json"))
    ]
    if json:
        print(
            json_text.dumps({key: {"value": value, "from": origin} for key, value, origin in found}, indent=1)
        )
    else:
        _print_table(found)


def _print_table(found: list[tuple[str, Any, str]]) -> None:
    texts = [
        (key, value if isinstance(value, str) else json_text.dumps(value), origin)
        for key, value, origin in found
    ]
    widths = [max(len(row[i]) for row in texts) for i in range(2)]
    for key, value, origin in texts:  # whole lines, for eyes and for grep
        print(f"{key:{widths[0]}}  {value:{widths[1]}}  {origin}")
