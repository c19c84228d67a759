"""The command that prints how the operating system can run the services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from forebay.cli.control import DEFAULT_CONFIG

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
    for name, text in files.items():
        if directory is None:
            print(f"# {name}\n{text}")
            continue
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
        print(directory / name)
