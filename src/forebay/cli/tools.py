"""Commands beside the data path: simulators, raw packets."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

import typer

sim_app = typer.Typer(help="Detectors that are not there.", no_args_is_help=True)


@sim_app.command("detector")
def simulate(
    type_: Annotated[str, typer.Option("--type", help="jungfrau or eiger.")] = "jungfrau",
    pulse_id: Annotated[
        str | None, typer.Option(help="JUNGFRAU: bunchid, bunchid-int64 or framenum.")
    ] = None,
    bit_depth: Annotated[int, typer.Option(help="EIGER: 8, 16 or 32.")] = 16,
    modules: Annotated[int, typer.Option(min=1, max=64, help="How many modules.")] = 1,
    host: Annotated[str, typer.Option(help="Where to send.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="UDP port of module 0; module i sends to port + i.")] = 50_100,
    rate: Annotated[float, typer.Option(help="Pulses a second; 0 is as fast as it goes.")] = 100.0,
    burst: Annotated[int, typer.Option(help="Pulses back to back, before a pause that keeps the rate.")] = 1,
    readout_ms: Annotated[
        float, typer.Option(help="Time in which a module sends one frame's packets; 0 is back to back.")
    ] = 0.0,
    first: Annotated[int, typer.Option(help="First pulse id.")] = 1,
    step: Annotated[int, typer.Option(help="Distance of pulse ids.")] = 1,
    count: Annotated[int | None, typer.Option(help="Pulses to send; until stopped if not given.")] = None,
    pattern: Annotated[str, typer.Option(help="ramp, noise or picture.")] = "noise",
    daq_rec: Annotated[int, typer.Option(help="Value of the header's debug field.")] = 0,
    source: Annotated[list[str] | None, typer.Option(help="Local address of each module.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="What goes wrong, e.g. loss=0.001 duplicate=0.01 dead=1:100..200."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was sent as JSON.")] = False,
) -> None:
    """Send the packets of a detector over UDP until the count is reached or Ctrl-C."""
    from forebay.cli.show import print_sent
    from forebay.config import parse
    from forebay.service.process import stop_on_signal
    from forebay.service.tables import packet_layout
    from forebay.sim.detector import Options, run
    from forebay.sim.faults import Faults

    asked = {"type": type_, "bit_depth": bit_depth, "pulse_id": pulse_id}
    detector = parse({"detectors": {"sim": asked}}, "forebay sim detector").detectors["sim"]
    options = Options(
        layout=packet_layout(detector),
        n_modules=modules,
        host=host,
        start_udp_port=port,
        sources=tuple(source or ()),
        rate_hz=rate,
        burst=burst,
        readout_s=readout_ms / 1000,
        first_pulse=first,
        pulse_step=step,
        count=count,
        pattern=pattern,
        daq_rec=daq_rec,
        faults=Faults.parse(fault or ()),
    )
    with stop_on_signal() as stop:
        sent = run(options, stop.is_set)
    print_sent(sent, json)


def dump(
    file: Annotated[Path, typer.Argument(help="pcap file to write; never overwritten.")],
    port: Annotated[list[int], typer.Option(help="UDP port to listen to; may be given several times.")],
    address: Annotated[str, typer.Option(help="Local address to bind.")] = "127.0.0.1",
    count: Annotated[int | None, typer.Option(help="End after so many datagrams.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Record the raw packets of any UDP source with their arrival times, until Ctrl-C."""
    from forebay.cli.show import print_counts
    from forebay.service.capture import dump as dump_packets
    from forebay.service.process import stop_on_signal

    with stop_on_signal() as stop:
        dumped = dump_packets(port, _ipv4(address), file, stop=stop.is_set, count=count)
    print_counts(f"dumped to {file}", dumped, json)


def replay(
    file: Annotated[Path, typer.Argument(help="pcap file to send.")],
    host: Annotated[str, typer.Option(help="Where to send.")] = "127.0.0.1",
    speed: Annotated[float, typer.Option(min=0, help="2 is twice as fast, 0 as fast as it goes.")] = 1.0,
    loops: Annotated[int, typer.Option(min=0, help="How often; 0 is until stopped.")] = 1,
    port: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="Send this port's to another.")
    ] = None,
    port_offset: Annotated[int, typer.Option(help="Add this to every other port.")] = 0,
    keep_sources: Annotated[bool, typer.Option(help="Send from the recorded source addresses.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Send the packets of a pcap file again, with the time between them that they had."""
    from forebay.cli.show import print_counts
    from forebay.service.process import stop_on_signal
    from forebay.service.replay import replay as replay_packets

    with stop_on_signal() as stop:
        replayed = replay_packets(
            file,
            host,
            speed=speed,
            loops=loops,
            ports=dict(_port_pair(text) for text in port or ()),
            port_offset=port_offset,
            keep_sources=keep_sources,
            stop=stop.is_set,
        )
    print_counts(f"sent to {host}", replayed, json)


def _ipv4(text: str) -> IPv4Address:
    from forebay.errors import ConfigError

    try:
        return IPv4Address(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not an IPv4 address.") from error


def _port_pair(text: str) -> tuple[int, int]:
    from forebay.errors import ConfigError

    old, _, new = text.partition("=")
    if not (old.isdecimal() and new.isdecimal() and 0 < int(old) < 65536 and 0 < int(new) < 65536):
        raise ConfigError(f"--port {text!r} is not OLD=NEW with ports 1 to 65535.")
    return int(old), int(new)
