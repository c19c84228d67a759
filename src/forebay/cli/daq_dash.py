"""``chec-daq-dash``: the receivers of a camera on the terminal, alive or not and how fast."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import NoReturn

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from forebay.errors import WireError
from forebay.front.ssdaq.component_settings import RECEIVERS
from forebay.front.ssdaq.receiver_board import ReceiverBoard, ReceiverStatus
from forebay.service.process import carry_out, stop_on_signal
from forebay.service.readout_successor_commands import PORTS, stream_parser
from forebay.stream.messages import MessageListener

_LOOK_S = 0.25
_PERIOD_S = 1.0


def table(rows: Sequence[ReceiverStatus]) -> Table:
    """Return what people see."""
    found = Table(title="Receivers", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for head in ("receiver", "status", "data", "packets/s", "modules"):
        found.add_column(head, justify="right" if head == "packets/s" else "left")
    for one in rows:
        found.add_row(
            Text(one.name, style="bold"),
            Text("online", style="green") if one.is_online else Text("offline", style="bold red"),
            Text("yes", style="green") if one.receives else Text("no", style="dim"),
            f"{one.rate_hz:.3g}" if one.receives else "-",
            _ranges(one.modules),
        )
    return found


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers as 0-3 7."""
    groups: list[list[int]] = []
    for number in sorted(numbers):
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return " ".join(str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in groups)


def main() -> NoReturn:
    """Run ``chec-daq-dash`` until Ctrl-C."""
    parser = stream_parser("chec-daq-dash", "Show how the receivers of a camera are.", PORTS["mon"])
    parser.add_argument("--json", action="store_true", help="A line of JSON a second, for programs")
    parser.add_argument("-n", type=int, dest="count", metavar="SECONDS", help="End after so many")
    asked = parser.parse_args()
    carry_out("chec-daq-dash", lambda: _show(asked))


def _show(asked: Namespace) -> None:
    console = Console()
    with ExitStack() as stack:
        listener = MessageListener(asked.listen_ip, asked.listen_port)
        stack.callback(listener.close)
        stop = stack.enter_context(stop_on_signal())
        live = None
        if console.is_terminal and not asked.json:
            live = stack.enter_context(Live(console=console, refresh_per_second=4))
        board = ReceiverBoard(list(RECEIVERS))
        end_s = time.monotonic() + asked.count if asked.count else float("inf")
        told_s = time.monotonic()
        while not stop.is_set() and time.monotonic() < end_s:
            for message in listener.read(_LOOK_S):
                try:
                    board.take(message, time.monotonic())
                except WireError:
                    continue  # not of a receiver
            rows = board.rows(time.monotonic())
            if live is not None:
                live.update(table(rows))
            elif time.monotonic() - told_s >= _PERIOD_S:
                told_s += _PERIOD_S
                _print(rows, asked.json, console)


def _print(rows: Sequence[ReceiverStatus], as_json: bool, console: Console) -> None:
    if as_json:
        print(json.dumps([asdict(one) for one in rows]), flush=True)
    else:
        console.print(table(rows))
