"""``forebay epics``: process variables out of their buffer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from forebay.pulse import PulseRange

epics_app = typer.Typer(help="Process variables of EPICS.", no_args_is_help=True)


@epics_app.callback()
def epics() -> None:
    """Process variables of EPICS, from the buffers that `forebay serve epics` fills."""


@epics_app.command("write")
def write(
    name: Annotated[str, typer.Argument(help="Name of the buffer in the configuration.")],
    file: Annotated[Path, typer.Argument(help="HDF5 file to write; never overwritten.")],
    pvs: Annotated[
        list[str] | None, typer.Argument(metavar="[PV]...", help="These only, named as configured.")
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file (YAML).", envvar="FOREBAY_CONFIG")
    ] = Path("forebay.yaml"),
    pulses: Annotated[str | None, typer.Option(metavar="A..B", help="Pulse ids, both ends included.")] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="ISO 8601, e.g. 2026-11-21T05:00:00Z; local without Z."),
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="TIME", help="The last moment.")] = None,
    general: Annotated[
        list[str] | None, typer.Option(metavar="KEY=TEXT", help="Write this into /general, e.g. user=p12345.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the end of the range to pass.")
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Write the values over a pulse range or a time to a file: one before, all inside, one after."""
    from forebay.cli.show import print_counts
    from forebay.config import load
    from forebay.service.epics_file import write_pvs
    from forebay.service.process import stop_on_signal

    asked = _asked(pulses, first, last)
    texts = dict(_pair(one) for one in general or ())
    with stop_on_signal() as stop:
        written = write_pvs(
            load(config), name, file, asked, pvs=pvs or (), general=texts, wait_s=wait, stop=stop
        )
    print_counts(f"written to {file}", written, json)
    raise SystemExit(1 if written.not_recorded else 0)


def _asked(pulses: str | None, first: str | None, last: str | None) -> PulseRange | tuple[int, int]:
    from forebay.errors import ConfigError
    from forebay.pulse import PulseRange

    if pulses is not None and first is None and last is None:
        return PulseRange.parse(pulses)
    if pulses is None and first is not None and last is not None:
        return _time_ns("--from", first), _time_ns("--to", last)
    raise ConfigError("Either a pulse range or a time is needed.", "Give --pulses A..B, or --from and --to.")


def _time_ns(option: str, text: str) -> int:
    from forebay.errors import ConfigError

    try:
        time = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option} {text!r} is not a time: {error}.", "Write 2026-11-21T05:00:00Z, or with +01:00."
        ) from error
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _pair(text: str) -> tuple[str, str]:
    from forebay.errors import ConfigError

    key, mark, value = text.partition("=")
    if not mark or not key:
        raise ConfigError(f"--general {text!r} is not KEY=TEXT.")
    return key.removeprefix("general/"), value
