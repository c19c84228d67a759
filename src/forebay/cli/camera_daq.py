"""``forebay camera triggers``: the trigger board of a camera that is not there."""

from __future__ import annotations

import json as json_text
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
