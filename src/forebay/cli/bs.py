"""``forebay bs``: look at streams of bsread, record, simulate and replay them."""

from __future__ import annotations

import json as json_text
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from forebay.ports import Source
    from forebay.service.bsread_tools import Column
    from forebay.stream.bsread import BsreadInlet

bs_app = typer.Typer(help="Beam-synchronous streams (bsread).", no_args_is_help=True)

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="tcp://HOST:PORT of the stream.")]
Channels = Annotated[list[str] | None, typer.Argument(metavar="CHANNEL", help="These channels only.")]
ModeOption = Annotated[
    str, typer.Option("--mode", "-m", help="pull or sub; sub at forebay's buffers starts with the newest.")
]
CountOption = Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many messages.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")]
BindOption = Annotated[str, typer.Option(help="Address to bind.")]
PublicOption = Annotated[bool, typer.Option("--public", help="Allow an address open to other hosts.")]


@bs_app.command("receive")
def receive(
    stream: Stream,
    channels: Channels = None,
    mode: ModeOption = "pull",
    count: CountOption = None,
    json: JsonOption = False,
) -> None:
    """Show the newest value of each channel, live."""
    from rich.console import Console
    from rich.live import Live

    from forebay.service.bsread_tools import value_rows
    from forebay.service.process import stop_on_signal

    inlet = _inlet(stream, mode)
    with stop_on_signal() as stop:
        events = _events(inlet, _told(inlet, stream, mode), count, stop)
        if json:
            for event in events:
                rows = value_rows(event, channels)
                values = {row.name: row.value for row in rows}
                print(
                    json_text.dumps({"pulse_id": event.pulse_id, "time_ns": event.time_ns, "values": values})
                )
            return
        console = Console()
        with Live(console=console, refresh_per_second=5) as live:
            for event in events:
                live.update(_value_table(event.pulse_id, value_rows(event, channels)))


@bs_app.command("stats")
def stats(
    stream: Stream,
    mode: ModeOption = "pull",
    count: CountOption = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two lines of --json.")] = 1.0,
    json: JsonOption = False,
) -> None:
    """Count: rate, Mbit/s, missed, duplicated and reversed pulse ids, missing values, jumps of the clock."""
    from rich.console import Console
    from rich.live import Live

    from forebay.cli.show import facts
    from forebay.service.bsread_tools import StreamStatistics
    from forebay.service.process import stop_on_signal

    statistics = StreamStatistics()
    inlet = _inlet(stream, mode)
    with stop_on_signal() as stop:
        events = _events(inlet, _told(inlet, stream, mode), count, stop, statistics)
        if json:
            following = time.monotonic() + interval
            for event in events:
                statistics.write([event])
                if time.monotonic() >= following:
                    following += interval
                    print(json_text.dumps(statistics.summary()), flush=True)
            print(json_text.dumps(statistics.summary()))
            return

        def table() -> Any:
            return facts(stream, [(name, str(value)) for name, value in statistics.summary().items()])

        with Live(get_renderable=table, console=Console(), refresh_per_second=2):
            for event in events:
                statistics.write([event])


@bs_app.command("record")
def record(
    stream: Stream,
    file: Annotated[Path, typer.Argument(help="HDF5 file to write; never overwritten.")],
    channels: Channels = None,
    mode: ModeOption = "pull",
    count: CountOption = None,
    pulses: Annotated[
        str | None, typer.Option(metavar="A..B", help="Record these pulse ids, both ends included.")
    ] = None,
    layout: Annotated[str, typer.Option(help="bsread or data-api.")] = "bsread",
    idle: Annotated[float, typer.Option(min=0.1, help="End when nothing came for so many seconds.")] = 10.0,
    json: JsonOption = False,
) -> None:
    """Record a stream to a file: a number of messages, a pulse range, or until Ctrl-C.

    The exit code is 1 if not all of it came, or nothing.
    """
    from forebay.cli.show import print_counts
    from forebay.pulse import PulseRange
    from forebay.service.bsread_tools import record_stream
    from forebay.service.process import stop_on_signal

    asked = None if pulses is None else PulseRange.parse(pulses)
    with stop_on_signal() as stop:
        recorded = record_stream(
            _told(_inlet(stream, mode), stream, mode),
            file,
            stream,
            stop.is_set,
            channels or (),
            count,
            asked,
            layout,
            idle,
        )
    print_counts(f"recorded to {file}", recorded, json)
    is_all = not recorded.missing and recorded.messages >= (count or 1)
    raise SystemExit(0 if is_all else 1)


@bs_app.command("simulate")
def simulate(
    port: Annotated[int, typer.Option("--port", "-p", help="Port to bind; 0 takes a free one.")] = 9999,
    count: CountOption = None,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0, help="Seconds between pulses.")
    ] = 0.01,
    scalars: Annotated[int, typer.Option(min=0, help="Scalars beside the eight channels there are.")] = 0,
    waveforms: Annotated[int, typer.Option(min=0, help="Waveforms of 1000 elements.")] = 0,
    strings: Annotated[int, typer.Option(min=0, help="Texts.")] = 0,
    camera: Annotated[str | None, typer.Option(metavar="COLUMNSxROWS", help="A camera, uint16.")] = None,
    compression: Annotated[str | None, typer.Option(help="none, lz4 or bitshuffle_lz4.")] = None,
    first: Annotated[int, typer.Option(min=0, help="First pulse id.")] = 1,
    step: Annotated[int, typer.Option(min=1, help="Distance of pulse ids.")] = 1,
    drift: Annotated[float, typer.Option(help="Growth of each scalar from pulse to pulse.")] = 0.001,
    mode: Annotated[str, typer.Option(help="push waits for its consumer, pub for nobody.")] = "push",
    fault: Annotated[
        list[str] | None, typer.Option(help="What goes wrong, e.g. drop=0.01 stall=500:2 reshape=800.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Other victims.")] = 1,
    bind: BindOption = "127.0.0.1",
    public: PublicOption = False,
    json: JsonOption = False,
) -> None:
    """Send the stream of a source that is not there until the count is reached or Ctrl-C."""
    from forebay.cli.show import print_counts
    from forebay.service.bsread_tools import send_paced
    from forebay.service.process import stop_on_signal
    from forebay.sim.bsread import BsreadOptions, BsreadSimulator, parse_faults

    chances, at = parse_faults(fault or [])
    simulator = BsreadSimulator(
        BsreadOptions(
            scalars=scalars,
            waveforms=waveforms,
            strings=strings,
            camera=None if camera is None else _size(camera),
            compression=compression,
            first_pulse=first,
            pulse_step=step,
            count=count,
            interval_s=interval,
            drift=drift,
            seed=seed,
            chances=chances,
            at=at,
        )
    )
    outlet = _outlet(port, mode, bind, public)
    with stop_on_signal() as stop:
        sendings = ((s.parts, interval + s.pause_s) for s in simulator.sendings(time.time_ns()))
        sent = send_paced(sendings, outlet, stop)
    print_counts(f"sent from {outlet.endpoint}", sent, json)


@bs_app.command("replay")
def replay(
    what: Annotated[Path, typer.Argument(help="HDF5 file with channels, or directory of a ring on disk.")],
    port: Annotated[int, typer.Option("--port", "-p", help="Port to bind; 0 takes a free one.")] = 9999,
    speed: Annotated[float, typer.Option(min=0, help="2 is twice as fast, 0 as fast as it goes.")] = 1.0,
    mode: Annotated[str, typer.Option(help="push waits for its consumer, pub for nobody.")] = "push",
    bind: BindOption = "127.0.0.1",
    public: PublicOption = False,
    json: JsonOption = False,
) -> None:
    """Send a file or a ring as a live stream, with its old pulse ids and times."""
    from forebay.cli.show import print_counts
    from forebay.service.bsread_tools import recorded_messages, send_paced
    from forebay.service.process import stop_on_signal

    messages = recorded_messages(what, speed)
    outlet = _outlet(port, mode, bind, public)
    with stop_on_signal() as stop:
        sent = send_paced(messages, outlet, stop)
    print_counts(f"sent from {outlet.endpoint}", sent, json)


def _inlet(stream: str, mode: str) -> BsreadInlet:
    from forebay.errors import ConfigError
    from forebay.stream.bsread import BsreadInlet, address

    if mode not in ("pull", "sub"):
        raise ConfigError(f"--mode {mode!r} is neither pull nor sub.")
    return BsreadInlet(address(stream), "pull" if mode == "pull" else "sub")


def _told(inlet: BsreadInlet, stream: str, mode: str) -> Source:
    """Return a source that tells the user when nothing comes."""
    from forebay.service.bsread_silence import Audible
    from forebay.service.process import warn

    return Audible(inlet, stream, mode, warn)


def _outlet(port: int, mode: str, bind: str, public: bool) -> Any:
    from forebay.errors import ConfigError
    from forebay.stream.bsread import BsreadOutlet

    if mode not in ("push", "pub"):
        raise ConfigError(f"--mode {mode!r} is neither push nor pub.")
    return BsreadOutlet(f"tcp://{bind}:{port or '*'}", "push" if mode == "push" else "pub", public=public)


def _events(
    inlet: BsreadInlet,
    told: Source,
    count: int | None,
    stop: threading.Event,
    statistics: Any = None,
) -> Iterator[Any]:
    try:
        while not stop.is_set() and (count is None or count > 0):
            for event in told.read(0.1) or ():
                yield event
                if count is not None:
                    count -= 1
                    if not count:
                        break
            if statistics is not None:
                statistics.received(inlet.counters)
    finally:
        inlet.close()


def _value_table(pulse_id: int, rows: list[Column]) -> Any:
    from rich.table import Table

    table = Table(title=f"pulse {pulse_id}", title_justify="left")
    for head in ("channel", "type", "shape", "value"):
        table.add_column(head)
    for row in rows:
        table.add_row(row.name, row.type, row.shape, str(row.value))
    return table


def _size(text: str) -> tuple[int, int]:
    from forebay.errors import ConfigError

    columns, _, rows = text.partition("x")
    if not (columns.isdecimal() and rows.isdecimal()):
        raise ConfigError(f"--camera {text!r} is not COLUMNSxROWS.", "Write 1280x1024.")
    return int(columns), int(rows)
