"""``forebay camera triggers`` and ``convert-sof``: a trigger board not there, and files of triggers."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer


def triggers(
    host: Annotated[str, typer.Option(help="Where the receiver is.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="UDP port of the receiver.")] = 8307,
    rate: Annotated[float, typer.Option(help="Triggers a second; 0 as fast as it goes.")] = 100.0,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many.")] = None,
    types: Annotated[list[int] | None, typer.Option("--type", help="Types of datagrams, in turn.")] = None,
    samples: Annotated[int, typer.Option(help="Of types 2 and 3.")] = 128,
    json: Annotated[bool, typer.Option("--json", help="Print counts as JSON.")] = False,
) -> None:
    """Send what the trigger board of a camera sends."""
    from forebay.service.process import stop_on_signal
    from forebay.sim.triggers import TriggerOptions, send_triggers

    options = TriggerOptions(
        host=host, port=port, rate_hz=rate, count=count, types=tuple(types or (0,)), n_samples=samples
    )
    with stop_on_signal() as stop:
        sent = send_triggers(options, stop.is_set)
    if json:
        print(json_text.dumps(sent))
    else:
        print(f"sent to {host}:{port}: " + ", ".join(f"{name} {n}" for name, n in sent.items()))


def convert_sof(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A .sof container, of any version.")],
    final: Annotated[Path, typer.Argument(metavar="NEW", help="The new file, .sof or .jsonl.")],
    compression: Annotated[str, typer.Option(help="bzip2 or none.")] = "bzip2",
    old: Annotated[bool, typer.Option("--old", help="Version 0, for readers before 0.9.")] = False,
) -> None:
    """Write triggers, time stamps, logs or frames anew, as another version or as lines of JSON."""
    from forebay.errors import ConfigError
    from forebay.store.sof_convert import convert_sof, write_lines
    from forebay.wire.sof import Compressor

    compressors = {"bzip2": Compressor.BZ2, "none": Compressor.NONE}
    if compression not in compressors:
        raise ConfigError(f"There is no compression {compression!r}.", "Choose bzip2 or none.")
    if final.suffix == ".jsonl":
        from forebay.service.readout_successor_commands import shown_of_kind

        found = write_lines(source, final, lambda one, kind: json_text.dumps(shown_of_kind(one, kind)))
    else:
        found = convert_sof(source, final, None if old else compressors[compression])
    print(f"{final}: {len(found.objects)} objects")
    if found.n_damaged or found.n_lost_bytes:
        print(
            f"{source} is damaged: {found.n_damaged} objects and {found.n_lost_bytes} bytes could not be read"
        )
        raise typer.Exit(1)
