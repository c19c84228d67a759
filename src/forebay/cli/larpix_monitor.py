"""``forebay larpix monitor``: look at PACMAN boards without a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def monitor(
    boards: Annotated[
        list[str],
        typer.Argument(metavar="GROUP=HOST[:PORT][/ASIC]...", help="Boards; PORT is that of commands."),
    ],
    port: Annotated[int, typer.Option("--port", "-p", help="Port of the page, REST and /metrics.")] = 8710,
    address: Annotated[
        str, typer.Option(help="Address of the page; any but loopback needs tokens.")
    ] = "127.0.0.1",
    layouts: Annotated[
        Path | None, typer.Option(help="Directory of pixel layouts (larpix-geometry YAML).")
    ] = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Pixel layout of all boards, or GROUP=NAME or GROUP/TILE=NAME; several times for more.",
        ),
    ] = None,
) -> None:
    """Show what boards send on a page: rates, histograms, hot channels, syncs and triggers, packets."""
    from forebay.config import ApiConfig
    from forebay.config.control import default_state_dir
    from forebay.service.larpix_areas import parse_layouts
    from forebay.service.larpix_lines import parse_board
    from forebay.service.larpix_shown import Shown
    from forebay.service.larpix_tally import Tally
    from forebay.service.monitor import watch
    from forebay.service.process import service_life
    from forebay.stream.pacman import PacmanInlet

    addresses = [parse_board(text) for text in boards]
    tally = Tally()
    shown = Shown(tally, layouts=layouts, layout=parse_layouts(layout or []))
    with service_life("larpix-monitor", None) as stop:
        inlet = PacmanInlet(addresses)
        try:
            api = ApiConfig(address=address, port=port)
            watch(inlet, shown, tally, api, default_state_dir(), stop)
        finally:
            inlet.close()
