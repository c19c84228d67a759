"""The command lines of larpix-daq's scripts, of the README and later, with what forebay adds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

PORTS: Final = (50000, 5551)
"""Ports of a core: of larpix-daq 0.2.1, and of the README. Our core has both, components use the first."""

LOG_ADDRESS: Final = "tcp://127.0.0.1:56789"
OLD_LOG_ADDRESS: Final = "tcp://127.0.0.1:5678"
"""Of the README; a log that is told no port listens at both."""

BASE: Final = "tcp://127.0.0.1"
SCRIPTS: Final = (
    "core",
    "producer",
    "aggregator",
    "offline_storage",
    "online_monitor",
    "run_data",
    "log",
)

_DOES = {
    "core": "Launch the core: run control, actions, the book of runs",
    "producer": "Launch the data interface between boards and the rest",
    "aggregator": "Launch the data aggregator",
    "offline_storage": "Launch the data consumer to save LArPix data to disk",
    "online_monitor": "Launch the data consumer providing the online data monitor",
    "run_data": "Launch the data consumer providing the online data monitor",
    "log": "Launch the log",
}


def parser_of(script: str) -> argparse.ArgumentParser:
    """Return the parser of one of `SCRIPTS`."""
    parser = argparse.ArgumentParser(prog=f"larpixdaq-{script.replace('_', '-')}", description=_DOES[script])
    add = parser.add_argument
    if script == "log":
        add("-p", "--port", help=f"Address to listen on, instead of {LOG_ADDRESS} and {OLD_LOG_ADDRESS}")
        add("-o", "--outfile", default="log.txt", help="File to write all lines to")
        add("--public", action="store_true", help="Allow an address that is open to other hosts")
        return parser
    if script in ("producer", "aggregator"):
        add("address", help="The address to publish data to including port number")
    if script == "core":
        add("--address", default=BASE, help="base address for ZMQ connections")
    else:
        add("--core", default=BASE, help="The address of the DAQ Core, not including port number")
    if script in ("core", "producer", "aggregator"):
        add("--public", action="store_true", help="Allow an address that is open to other hosts")
    add("--log-address", default=LOG_ADDRESS, help="Address to connect to global log, including port number")
    add("--core-port", type=int, help=f"Port of the core instead of {PORTS[0]}")
    _ADD.get(script, lambda _add: None)(parser)
    return parser


def _conductor(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--runs", default="larpix_runs.jsonl", help="File to book runs in, where no catalogue is configured")
    add("--config", help="Configuration whose catalogue books the runs")
    add("--proposal", default="larpix", help="Proposal of the runs in the catalogue")
    add("--directory", help="Folder of the proposal; of a new one, record.directory of the configuration")
    add("--confirm", type=float, default=10.0, help="Seconds for all components to confirm READY and RUN")
    add("--drain", type=float, default=60.0, help="Seconds for all components to confirm STOP")
    add("--standby", action="store_true", help="Wait while another core has the port, then take its place")
    add("--web", default="", help="Web server to tell of components and states, e.g. http://localhost:5000")


def _producer(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--fake", action="store_true", help="As --io-config FakeIO")
    source.add_argument(
        "--io-config",
        nargs="+",
        help="FakeIO [GROUP[/ASIC]...]; PACMAN_IO, ZMQ_IO MultiZMQ_IO and FILE or GROUP=HOST[:PORT][/ASIC]",
    )
    add("-d", "--debug", action="store_true", help="Enter debug (verbose) mode")
    add("--name", default="LArPix board", help="Name of the component; another one for each further producer")
    add(
        "--block", choices=("0.1", "1.0"), help="Packet blocks of larpix-daq (for chips of version 1) or ours"
    )
    add("--rate", type=float, default=1200.0, help="Packets a second of each board of FakeIO")
    add("--fault", action="append", default=[], help="What goes wrong with FakeIO, e.g. parity=0.01")
    add("--routines", help="JSON file: name -> {function: package.module:function, params: [...]}")
    add("--boards", help="Directory of controller configurations (*_chip_info.json)")


def _storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output-dir", default=".", help='Directory to save output files (default: ".")'
    )
    add = parser.add_argument
    add("--asic", default="1", help="Versions of the chips of all boards, e.g. 2 or 1,2b,3 (default: 1)")
    add("--form", choices=("packets", "raw"), default="packets", help="Packets, or messages as they come")
    add("--format", help="Of packets: 1.0 where all chips are of version 1 (default there), 2.0 to 2.4")


def _monitor(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--web", default="", help="Web server to post to, as the original: http://localhost:5000")
    add("--rest-port", type=int, help="Port for REST, /metrics and a page; 5000 is that of the web server")
    add("--rest-address", default="127.0.0.1", help="Address for it; any but loopback needs tokens")
    add("--layouts", help="Directory of pixel layouts (larpix-geometry YAML)")
    add(
        "--layout",
        action="append",
        default=[],
        metavar="NAME",
        help="Pixel layout of all boards, or GROUP=NAME or GROUP/TILE=NAME; several times for more",
    )


_ADD = {
    "core": _conductor,
    "producer": _producer,
    "aggregator": lambda parser: parser.add_argument("-d", "--debug", action="store_true", help="Debug mode"),
    "offline_storage": _storage,
    "online_monitor": _monitor,
    "run_data": _monitor,
}


def parse(script: str, words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments of a script."""
    return parser_of(script).parse_args(words)


def home_address(arguments: argparse.Namespace) -> str:
    """Return the address of the core that a component is to join."""
    return f"{arguments.core}:{arguments.core_port or PORTS[0]}"
