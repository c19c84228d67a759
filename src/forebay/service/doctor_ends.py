"""The doctor's look at network ends: ports of cameras, publishers and streams, and who should be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address

from forebay.assemble.receiver import open_port
from forebay.config import BoardsConfig, BsreadConfig, CameraConfig, Config, InletConfig
from forebay.errors import ConfigError
from forebay.service import findings as judge
from forebay.service import host
from forebay.service.findings import Finding
from forebay.wire.target import BLOCK

_REACH_S = 1.0
_PACKED = 10  # blocks of a datagram, as the modules send them

End = tuple[str, int]


def ends(config: Config) -> Iterator[Finding]:
    """Look at everything that binds a port or connects, but for detectors; waits at most a second or so."""
    for name, camera in config.cameras.items():
        yield from _camera(name, camera)
    for name, inlet in config.inlets.items():
        yield from _inlet(name, inlet)
    for name, stream in config.bsread.items():
        yield from _bsread(name, stream)
    for name, boards in config.boards.items():
        yield from _boards(name, boards)
    if config.api is not None:
        yield _bound("api", [(config.api.address, config.api.port)])


def _camera(name: str, camera: CameraConfig) -> Iterator[Finding]:
    datagram = _PACKED * BLOCK.itemsize
    yield judge.packet_size(name, str(camera.address), datagram, host.interfaces())
    yield _udp(name, camera.address, camera.port)
    bound = [(str(one.address), one.port) for one in camera.publishers if one.mode != "remote"]
    if bound:
        yield _bound(name, bound)


def _udp(name: str, address: IPv4Address | IPv6Address, port: int) -> Finding:
    refused = []
    try:
        open_port(address, port, 2**16)[0].close()
    except ConfigError as error:
        refused.append(error)
    return judge.ports(name, 1, refused)


def _inlet(name: str, inlet: InletConfig) -> Iterator[Finding]:
    bound = [(str(one.address), one.port) for one in inlet.outlets if one.mode != "remote"]
    if inlet.kind == "triggers":
        yield _udp(name, ip_address(inlet.end[0]), inlet.end[1])
    elif inlet.kind == "timestamps":
        yield _reached(name, [inlet.end])
    elif inlet.kind != "telescope":
        bound.append(inlet.end)
    if bound:
        yield _bound(name, bound)


def _bsread(name: str, stream: BsreadConfig) -> Iterator[Finding]:
    yield _bound(name, [(str(stream.output_address), stream.output_port)])
    sender, _, port = stream.source.removeprefix("tcp://").rpartition(":")
    yield _reached(name, [(sender.strip("[]"), int(port))])


def _boards(name: str, boards: BoardsConfig) -> Iterator[Finding]:
    yield _reached(name, [(one.host, port) for one in boards.members for port in (one.port, one.port + 1)])
    if boards.monitor is not None:
        yield _bound(name, [(boards.monitor.address, boards.monitor.port)])


def _bound(name: str, asked: Iterable[End]) -> Finding:
    found = [(f"{address}:{port}", host.tcp_refusal(address, port)) for address, port in asked]
    return judge.tcp_ports(name, found)


def _reached(name: str, asked: Iterable[End]) -> Finding:
    wanted = list(asked)
    with ThreadPoolExecutor(max_workers=32) as pool:
        said = list(pool.map(_why_not, wanted))
    return judge.peers(name, [(f"{end[0]}:{end[1]}", why) for end, why in zip(wanted, said, strict=True)])


def _why_not(end: End) -> str:
    """Return why nobody takes a connection there; empty if somebody does."""
    try:
        socket.create_connection(end, _REACH_S).close()
    except OSError as error:
        return str(error.strerror or error)
    return ""
