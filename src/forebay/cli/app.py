"""The commands and their options; what they need is imported when they run, so that ``--help`` is quick."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from forebay.cli import operate, tools
from forebay.cli.bs import bs_app
from forebay.cli.camera import camera_app
from forebay.cli.camera_daq import convert_sof, triggers
from forebay.cli.catalog import catalog_app
from forebay.cli.config import config_app
from forebay.cli.epics import epics_app
from forebay.cli.larpix import larpix_app
from forebay.cli.larpix_ask import ask as larpix_ask
from forebay.cli.larpix_monitor import monitor as larpix_monitor
from forebay.cli.proposal import proposal_app
from forebay.cli.record import record, retrieve
from forebay.cli.service import service_app
from forebay.cli.status import status
from forebay.cli.token import token_app
from forebay.errors import ForebayError

app = typer.Typer(
    name="forebay",
    help="Data acquisition for detectors: receive, remember, record, check.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="Configuration file (YAML).", envvar="FOREBAY_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LogOption = Annotated[
    Literal["line", "json"],
    typer.Option(help="Log lines: key=value, or a JSON object each.", envvar="FOREBAY_LOG_FORMAT"),
]
DEFAULT_CONFIG = Path("forebay.yaml")


class _Warnings(logging.Formatter):
    """What a command warns of while it goes on, in the form of its errors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields = getattr(record, "fields", {})
        said = ", ".join(f"{key} {value}" for key, value in fields.items())
        return f"forebay: {record.getMessage()}" + (f" ({said})" if said else "")


def log_to_user() -> None:
    """Print warnings on standard error; services have a log of their own instead."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Warnings())
    logging.getLogger("forebay").addHandler(stream)


def main() -> NoReturn:
    """Run the command line; an error is one readable line and exit code 1."""
    log_to_user()
    try:
        app()
    except ForebayError as error:
        from forebay.service.process import notify

        print(f"forebay: {error}", file=sys.stderr)
        notify(f"STATUS={error}")
        raise SystemExit(1) from None
    raise SystemExit(0)


def demo(
    directory: Annotated[Path, typer.Option(help="Where the file and the picture go.")] = Path(
        "forebay-demo"
    ),
    pulses: Annotated[int, typer.Option(min=10, help="Pulses to record.")] = 1000,
    rate: Annotated[float, typer.Option(min=1, help="Pulses a second.")] = 100.0,
) -> None:
    """Watch a simulated 2-module JUNGFRAU being received, recorded and checked: about 20 seconds."""
    from forebay.cli.demo import run_demo

    raise SystemExit(run_demo(directory, pulses, rate))


def run(
    config: Annotated[
        Path, typer.Argument(help="Configuration file (YAML).", envvar="FOREBAY_CONFIG")
    ] = DEFAULT_CONFIG,
    log_format: LogOption = "line",
    parent: Annotated[int | None, typer.Option(help="Process that we end with.", hidden=True)] = None,
) -> None:
    """Run every service that the configuration asks for, until Ctrl-C or SIGTERM."""
    from forebay.config import load
    from forebay.service.process import service_life
    from forebay.service.supervisor import Supervisor

    loaded = load(config)
    with service_life("supervisor", parent, log_format) as stop:
        code = Supervisor(loaded, config, log_format).run(stop)
    raise SystemExit(code)


def serve(
    role: Annotated[
        str,
        typer.Argument(
            help="hub, receive, assemble, buffer, live, publish, epics, bsread, camera, inlet, boards, "
            "monitor, record, retrieve or gateway."
        ),
    ],
    name: Annotated[str, typer.Argument(help="Name of the source; of hub, workers and gateway, any.")],
    config: ConfigOption = DEFAULT_CONFIG,
    log_format: LogOption = "line",
    parent: Annotated[int | None, typer.Option(help="Process that we end with.", hidden=True)] = None,
) -> None:
    """Run one service by itself: in a debugger, a container or a unit of the system."""
    from forebay.config import load
    from forebay.service.process import service_life
    from forebay.service.roles import role_of

    body = role_of(role)
    loaded = load(config)
    with service_life(f"{role}.{name}", parent, log_format) as stop:
        body(loaded, name, stop)


def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Files to check.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out the check of this name.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Look at the pixels of every n-th image only.")] = 1,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks by name.")] = False,
    json: JsonOption = False,
) -> None:
    """Prove that files are what they say: exit code 1 if anything is wrong or missing."""
    from forebay.cli.show import print_checks, print_report
    from forebay.errors import ConfigError
    from forebay.store.check import check_file, checks

    if list_checks:
        print_checks(checks(), json)
        return
    if not files:
        raise ConfigError("No file was named.", "Give one or more files, or --list.")
    reports = [check_file(path, skip or (), every) for path in files]
    raise SystemExit(print_report(reports, json))


def recover(
    part: Annotated[Path, typer.Argument(help="The file that ends in .part.")],
    json: JsonOption = False,
) -> None:
    """Make a good file of what a killed recorder left behind."""
    import json as json_text

    from forebay.store.recover import recover as recover_part

    file = recover_part(part)
    print(json_text.dumps({"file": str(file)}) if json else file)


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Look at what this configuration needs.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look at this host: each finding comes with the command that mends it."""
    from forebay.cli.show import print_findings
    from forebay.config import load
    from forebay.service.doctor import diagnose

    raise SystemExit(print_findings(diagnose(load(config) if config else None), json))


def command_tree() -> Any:
    """Return the commands as click sees them, for the documentation."""
    return typer.main.get_command(app)


_COMMANDS = {
    "Begin here": (demo, doctor),
    "Run the services": (run, status, serve),
    "Take data": (record, retrieve, operate.jobs, operate.watch, operate.cancel, operate.routine),
    "What was taken": (operate.runs, operate.files, check, recover),
    "Detectors and other sources": (tools.dump, tools.replay),
}
_GROUPS = {
    "Run the services": {"config": config_app, "service": service_app, "token": token_app},
    "What was taken": {"proposal": proposal_app, "catalog": catalog_app},
    "Detectors and other sources": {
        "sim": tools.sim_app,
        "bs": bs_app,
        "camera": camera_app,
        "epics": epics_app,
        "larpix": larpix_app,
    },
}
for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
for panel, groups in _GROUPS.items():
    for name, group in groups.items():
        app.add_typer(group, name=name, rich_help_panel=panel)
camera_app.command("triggers")(triggers)
camera_app.command("convert-sof")(convert_sof)
larpix_app.command("monitor")(larpix_monitor)
larpix_app.command("ask")(larpix_ask)
