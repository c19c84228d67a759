"""``forebay camera``: cameras whose modules send time-tagged slow signals (CHEC): simulate, receive, look."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.cli.sim_control import control_app

if TYPE_CHECKING:
    from threading import Event

    from forebay.service.readout import ReadoutAssembler, ReadoutSink

camera_app = typer.Typer(help="Cameras with time-tagged modules (CHEC, TARGET).", no_args_is_help=True)

camera_app.add_typer(control_app, name="control")

PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="UDP port of the receiver.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print counts as JSON.")]
IpArgument = Annotated[str, typer.Argument(metavar="[IP]", help="Of the publisher; 0.0.0.0 binds.")]
_SILENT_S = 2.0
_WIDE = 80  # columns of the face and of the text beside it
PublishedPort = Annotated[int, typer.Argument(metavar="[PORT]", min=1, max=65535, help="Of the publisher.")]


@camera_app.command("simulate")
def simulate(
    host: Annotated[str, typer.Option(help="Where the receiver is.")] = "127.0.0.1",
    port: PortOption = 2009,
    rate: Annotated[float, typer.Option(help="Readouts a second; 0 as fast as it goes.")] = 33.0,
    packed: Annotated[int, typer.Option(help="Readouts of one datagram.")] = 10,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many.")] = None,
    modules: Annotated[int, typer.Option(min=1, max=32, help="How many modules there are.")] = 32,
    network: Annotated[
        str, typer.Option(help="First three bytes of the modules' addresses; '' for one address of all.")
    ] = "127.0.0",
    jitter_us: Annotated[float, typer.Option(min=0, help="By which time tags differ, to either side.")] = 0.0,
    spread: Annotated[bool, typer.Option("--spread", help="Modules one after the other, evenly.")] = False,
    pattern: Annotated[
        bool, typer.Option("--pattern", help="A pattern instead of drifting signals.")
    ] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="loss=P duplicate=P late=P short=P empty=P dead=MODULE leap=CYCLE:SECONDS seed=N"),
    ] = None,
    control_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Modules take commands at this TCP port, as 30001; 0: none.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Send what 32 modules send, each from an address of its own."""
    from forebay.cli.module_control import controlled
    from forebay.service.process import stop_on_signal
    from forebay.sim.camera import Camera, CameraFaults, CameraOptions

    options = CameraOptions(
        host=host,
        port=port,
        rate_hz=rate,
        packed=packed,
        count=count,
        modules=range(modules),
        network=network,
        jitter_ns=round(jitter_us * 1000),
        spread=spread,
        signal="pattern" if pattern else "drift",
        faults=CameraFaults.parse(fault or []),
    )
    camera = Camera(options)
    try:
        with stop_on_signal() as stop, controlled(camera, control_port):
            sent = camera.run(stop.is_set)
    finally:
        camera.close()
    if json:
        print(json_text.dumps(sent))
    else:
        print(f"sent to {host}:{port}: " + ", ".join(f"{kind} {n}" for kind, n in sent.items()))


@camera_app.command("receive")
def receive(
    listen: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: PortOption = 2009,
    publish: Annotated[
        list[str] | None, typer.Option(help="IP:PORT or IP:PORT:MODE; modes local, outbound, remote.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write files into this folder.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="What names of files begin with.")] = "SlowSignalData",
    enumerate_by: Annotated[str, typer.Option("--enumerate", help="date, order or none.")] = "date",
    limit_mib: Annotated[float | None, typer.Option(help="Length of a file, MiB.")] = None,
    generation: Annotated[str, typer.Option(help="Whose messages and files: A or B.")] = "A",
    compression: Annotated[str, typer.Option(help="zlib, bzip2 or none.")] = "zlib",
    window_ms: Annotated[float, typer.Option(min=0, help="By how much time tags may differ.")] = 1.0,
    buffer_s: Annotated[float, typer.Option(min=0, help="Longest wait for a module.")] = 4.0,
    buffer_length: Annotated[int, typer.Option(min=1, help="Most readouts that wait.")] = 1000,
    relaxed_ip: Annotated[bool, typer.Option("--relaxed-ip", help="Modules modulo 32.")] = False,
    every: Annotated[float, typer.Option(min=0, help="Say rates and losses so often, s; 0 never.")] = 0.0,
    json: JsonOption = False,
) -> None:
    """Assemble readouts, publish them and write them, until Ctrl-C."""
    from forebay.assemble.timed import TimedRules
    from forebay.service.process import stop_on_signal
    from forebay.service.queued import QueuedSink
    from forebay.service.readout import CameraInput, ReadoutAssembler
    from forebay.store.readout_layout import ReadoutRecording
    from forebay.store.readout_series import ReadoutSeries
    from forebay.wire.senders import ModuleRule

    rules = TimedRules(round(window_ms * 1e6), round(buffer_s * 1e9), buffer_length)
    camera = CameraInput(_address(listen), port, ModuleRule(relaxed=relaxed_ip), rules)
    sinks: list[ReadoutSink] = []
    try:
        sinks += [_publisher(text, generation) for text in publish or []]
        if folder is not None:
            recording: Any = {"generation": generation, "compression": compression}
            series: Any = {"enumeration": enumerate_by, "limit_mib": limit_mib}
            files = ReadoutSeries(folder, prefix, ReadoutRecording(**recording), **series)
            sinks.append(QueuedSink(files))
        assembler = ReadoutAssembler(camera, sinks)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    with stop_on_signal() as stop:
        if every:
            Thread(target=_say_rates, args=(assembler, every, stop), daemon=True).start()
        assembler.run(stop)
    _say(assembler.status(), json)
    if assembler.failed:
        raise assembler.failed[0]


@camera_app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Of readouts, of any version.")],
    final: Annotated[Path, typer.Argument(metavar="NEW", help="The new file; nothing may be there.")],
    generation: Annotated[str, typer.Option(help="Whose table: A or B.")] = "A",
    compression: Annotated[str, typer.Option(help="zlib, bzip2 or none.")] = "zlib",
) -> None:
    """Write a file of readouts anew, in the table of another version or with another compression."""
    from forebay.store.readout_convert import convert_readouts
    from forebay.store.readout_layout import ReadoutRecording

    chosen: Any = {"generation": generation, "compression": compression}
    manifest = convert_readouts(source, final, ReadoutRecording(**chosen))
    print(f"{final}: {manifest.counters.end.recorder['written']} readouts")


@camera_app.command("view")
def view(
    ip: IpArgument = "127.0.0.101",
    port: PublishedPort = 5555,
    png: Annotated[Path | None, typer.Option(help="Write one picture of the next readout and end.")] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many.")] = None,
    order: Annotated[
        str, typer.Option(help="The 32 modules as they are seen, row by row; as numbered if not given.")
    ] = "",
    by_columns: Annotated[
        bool, typer.Option("--by-columns", help="Pixels of a module go down its columns, not along its rows.")
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, help="Give up if no readout comes in so many seconds; 10 with --png, else never."
        ),
    ] = None,
) -> None:
    """Show the newest readout on the camera's face, live."""
    import time

    from rich.console import Console
    from rich.live import Live

    from forebay.cli.camera_face import face_text, in_words
    from forebay.cli.camera_png import save_face
    from forebay.cli.module_rates import ModuleRates
    from forebay.errors import StreamError
    from forebay.service.process import stop_on_signal
    from forebay.stream.readouts import ReadoutListener
    from forebay.wire.camera_map import FaceLayout

    def is_narrow() -> bool:
        return console.width < _WIDE

    layout = FaceLayout.parse(order, by_columns)
    if wait is None and png is not None:
        wait = 10.0
    listener, rates = ReadoutListener(ip, port), ModuleRates()
    since = time.monotonic()
    console = Console()
    newest, said = None, [""]
    try:
        with stop_on_signal() as stop, Live(console=console, refresh_per_second=10) as live:
            n = 0
            live.update(f"waiting for readouts from {listener.endpoint}")
            while not stop.is_set() and (count is None or n < count):
                readouts = listener.read(0.1)
                silent_s = time.monotonic() - since
                if not len(readouts):
                    if wait is not None and silent_s > wait:
                        raise StreamError(
                            f"No readout came from {listener.endpoint} in {wait:g} s.",
                            "See what its assembler says, or wait longer: --wait SECONDS.",
                        )
                    if newest is not None and silent_s > _SILENT_S:
                        alarm = f"NO READOUT FOR {silent_s:.0f} s"
                        live.update(face_text(newest, said, layout, alarm=alarm, is_narrow=is_narrow()))
                    continue
                since, newest = time.monotonic(), readouts[-1]
                if png is not None:
                    save_face(newest, png, layout)
                    live.update("\n".join([str(png), *in_words(newest)]))
                    break
                n += len(readouts)
                rates.add(readouts)
                counts = ", ".join(f"{name} {n}" for name, n in listener.counters.items() if n)
                said = [*rates.lines(layout), counts, listener.endpoint]
                live.update(face_text(newest, said, layout, is_narrow=is_narrow()))
    finally:
        listener.close()


def _address(text: str) -> Any:
    from ipaddress import ip_address

    from forebay.errors import ConfigError

    try:
        return ip_address(text)
    except ValueError as error:
        raise ConfigError(
            f"--listen {text!r} is not an IP address.", "Write it a.b.c.d, or as IPv6."
        ) from error


def _publisher(text: str, generation: str) -> ReadoutSink:
    from forebay.errors import ConfigError
    from forebay.stream.readouts import ReadoutPublisher

    ip, _, rest = text.partition(":")
    port, _, mode = rest.partition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"--publish {text!r} is not IP:PORT or IP:PORT:MODE.", "Write 127.0.0.101:5555.")
    chosen: Any = {"mode": mode or "local", "generation": generation}
    return ReadoutPublisher(ip, int(port), name=text, **chosen)


def _say_rates(assembler: ReadoutAssembler, every: float, stop: Event) -> None:
    from forebay.service.readout import rates

    before = assembler.status()
    while not stop.wait(every):
        now = assembler.status()
        print(rates(before, now, every), file=sys.stderr, flush=True)
        before = now


def _say(status: dict[str, Any], json: bool) -> None:
    from forebay.service.readout_commands import status_lines

    print(json_text.dumps(status) if json else "\n".join(status_lines(status)))
