"""The command that prints how the operating system can run the services."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Literal

import typer

from forebay.cli.control import DEFAULT_CONFIG, JsonOption

service_app = typer.Typer(help="Services of the operating system.", no_args_is_help=True)


@service_app.command()
def install(
    config: Annotated[Path, typer.Argument(help="Configuration file (YAML).")] = DEFAULT_CONFIG,
    kind: Annotated[Literal["systemd", "compose"], typer.Option(help="For whom.")] = "systemd",
    separate: Annotated[
        bool, typer.Option("--separate", help="systemd: a unit for each service instead of a supervisor.")
    ] = False,
    directory: Annotated[
        Path | None, typer.Option(help="Write the files there; without it they are printed.")
    ] = None,
    image: Annotated[str, typer.Option(help="compose: image in which forebay is installed.")] = "forebay",
    json: JsonOption = False,
) -> None:
    """Print units of systemd, or a compose file, that run what the configuration asks for."""
    from forebay.config import load
    from forebay.errors import ConfigError
    from forebay.service.units import compose_file, systemd_unit, systemd_units

    if separate and kind != "systemd":
        raise ConfigError("--separate is for systemd only.", "Leave it out.")
    loaded, path = load(config), config.resolve()
    if kind == "compose":
        files = {"compose.yaml": compose_file(loaded, path, image)}
    elif separate:
        files = systemd_units(loaded, path)
    else:
        files = {"forebay.service": systemd_unit(loaded, path)}
    if directory is not None:
        _write(directory, files)
    if json:
        folder = directory or Path()
        print(json_text.dumps({str(folder / name): text for name, text in files.items()}))
    elif directory is not None:
        print("\n".join(str(directory / name) for name in files))
    else:
        print("\n".join(f"# {name}\n{text}" for name, text in files.items()))


def _write(directory: Path, files: dict[str, str]) -> None:
    """Write files that are not there yet; `ConfigError` if one is, or cannot be written."""
    from forebay.errors import ConfigError

    for name, text in files.items():
        try:
            with (directory / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise ConfigError(
                f"{directory / name} exists.", "Remove it, or name another directory."
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{directory / name} cannot be written: {error.strerror}.",
                "Make the directory, or name one that you may write to.",
            ) from error
