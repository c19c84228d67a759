"""Datagrams of a pcap file back onto the network, with their timing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from forebay.errors import ConfigError, StoreError
from forebay.wire import pcap

_BLOCK_BYTES = 2**20
_NAP_S = 0.1
_PROGRESS_S = 0.2


@dataclass(slots=True)
class Replayed:
    """What a replay sent.

    Attributes
    ----------
    datagrams, bytes:
        What was sent, payloads only.
    by_port:
        Datagrams to each port.
    loops:
        How often the file was sent to its end.
    skipped:
        Records of the file that are no whole UDP datagram, in one loop.
    """

    datagrams: int = 0
    bytes: int = 0
    by_port: dict[int, int] = field(default_factory=dict)
    loops: int = 0
    skipped: pcap.Skipped = field(default_factory=pcap.Skipped)


def replay(
    path: Path,
    host: str,
    *,
    speed: float = 1.0,
    loops: int = 1,
    ports: Mapping[int, int] | None = None,
    port_offset: int = 0,
    keep_sources: bool = False,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Replayed], None] | None = None,
) -> Replayed:
    """Send the datagrams of a pcap file to `host`, with the time between them that they had.

    Parameters
    ----------
    speed:
        2 is twice as fast, 0 as fast as it goes.
    loops:
        How often; 0 is until stopped.
    ports, port_offset:
        Destination port of each recorded one; those not named have `port_offset` added.
    keep_sources:
        Send from the recorded source addresses, as receivers need that tell modules by them; they must
        be addresses of this machine, as all of 127.0.0.0/8 are.

    Raises
    ------
    ConfigError
        If an option is out of bounds, the host is not known or a source address is not ours.
    StoreError
        If the file cannot be read.
    WireError
        If it is no pcap file, or damaged; what came before the damage has been sent.
    """
    if not 0 <= speed < float("inf"):
        raise ConfigError(f"speed = {speed}: it is 0 (as fast as it goes) or more.")
    if loops < 0:
        raise ConfigError(f"loops = {loops}: it is 0 (until stopped) or more.")
    result = Replayed()
    with closing(_Outlets(host, ports or {}, port_offset, keep_sources)) as outlets:
        while not loops or result.loops < loops:
            result.skipped = pcap.Skipped()
            before = result.datagrams
            datagrams = pcap.read(_blocks(path), result.skipped)
            if not _replay_once(datagrams, outlets, speed, stop, result, progress):
                break
            result.loops += 1
            if result.datagrams == before:
                break  # an empty file never gets fuller
    return result


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror}.") from error


class _Outlets:
    """Sockets by destination and, where sources are kept, by source."""

    def __init__(self, host: str, ports: Mapping[int, int], port_offset: int, keep_sources: bool) -> None:
        self._host = host
        self._ports = ports
        self._offset = port_offset
        self._keep = keep_sources
        self._sockets: dict[tuple[str, int], socket.socket] = {}

    def send(self, datagram: pcap.Datagram) -> int:
        """Send one datagram; return the port it went to."""
        recorded = datagram.destination[1]
        port = self._ports.get(recorded, recorded + self._offset)
        key = (datagram.source[0] if self._keep else "", port)
        if key not in self._sockets:
            self._sockets[key] = self._open(*key)
        try:
            self._sockets[key].send(datagram.payload)
        except ConnectionRefusedError:  # nobody listened to an earlier one: this one was not sent
            self._sockets[key].send(datagram.payload)
        return port

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()

    def _open(self, source: str, port: int) -> socket.socket:
        if not 1 <= port <= 65535:
            raise ConfigError(f"A datagram would go to port {port}.", "Change the mapping or the offset.")
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if source:
                sock.bind((source, 0))
            sock.connect((self._host, port))
        except OSError as error:
            sock.close()
            raise ConfigError(
                f"Cannot send to {self._host}:{port} from {source or 'any local address'}: {error}.",
                "Give a host that can be reached; sources can be kept only where they are of this machine.",
            ) from error
        return sock


def _replay_once(
    datagrams: Iterable[pcap.Datagram],
    outlets: _Outlets,
    speed: float,
    stop: Callable[[], bool],
    result: Replayed,
    progress: Callable[[Replayed], None] | None,
) -> bool:
    """Send a file once; False if it was stopped."""
    start = told = time.monotonic()
    first_ns: int | None = None
    for datagram in datagrams:
        first_ns = datagram.time_ns if first_ns is None else first_ns
        due = start + (datagram.time_ns - first_ns) / 1e9 / speed if speed else start
        while not stop() and (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _NAP_S))
        if stop():
            return False
        port = outlets.send(datagram)
        result.by_port[port] = result.by_port.get(port, 0) + 1
        result.datagrams += 1
        result.bytes += len(datagram.payload)
        if progress is not None and time.monotonic() - told >= _PROGRESS_S:
            told = time.monotonic()
            progress(result)
    return not stop()
