"""Raw datagrams of any UDP source, with their times of arrival, to a pcap file."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

import numpy as np

from forebay.assemble.receiver import open_port
from forebay.errors import ConfigError, StoreError
from forebay.store.paths import explain, part_of
from forebay.wire import pcap

_SO_TIMESTAMPNS = 35  # Linux: arrival time as ancillary data; not named by the socket module
_SO_MEMINFO = 55
_MEMINFO_WORDS = 9
_MEMINFO_DROPS = 8
_TIMESPEC = struct.Struct("@ll")
_BATCH = 128
"""Datagrams taken from one port before the others have their turn."""

_BLOCK_BYTES = 2**20
_NAP_S = 0.1
_PROGRESS_S = 0.2


@dataclass(slots=True)
class Dumped:
    """What a dump holds.

    Attributes
    ----------
    datagrams, bytes:
        What was recorded, payloads only.
    by_port:
        Datagrams of each port.
    kernel_drops:
        Datagrams of each port that the kernel threw away because its buffer was full.
    receive_buffer_bytes:
        The smallest socket buffer that the kernel gave.
    """

    datagrams: int = 0
    bytes: int = 0
    by_port: dict[int, int] = field(default_factory=dict)
    kernel_drops: dict[int, int] = field(default_factory=dict)
    receive_buffer_bytes: int = 0


def dump(
    ports: Sequence[int],
    address: IPv4Address,
    path: Path,
    *,
    stop: Callable[[], bool],
    count: int | None = None,
    receive_buffer_bytes: int = 256 * 2**20,
    ready: Callable[[], None] = lambda: None,
    progress: Callable[[Dumped], None] | None = None,
) -> Dumped:
    """Record every datagram that comes to these ports until `stop()`, or `count` of them are there.

    What has arrived when `stop()` turns true is still recorded. Times are the kernel's, of arrival; the
    order is theirs within a port, and nearly so between ports. The file is written as ``.part`` and
    renamed at the end. One Python thread: it keeps up with some 25 000 datagrams a second of 8 kB, the
    socket buffers take up bursts, and what is lost is counted.

    Parameters
    ----------
    ready:
        Called once all ports are bound.
    progress:
        Told about five times a second what there is so far.

    Raises
    ------
    ConfigError
        If no port is given, one is given twice, is none or cannot be bound.
    StoreError
        If the file exists or cannot be written; what was written stays as ``.part``.
    """
    if not ports or len(set(ports)) != len(ports):
        raise ConfigError(f"Ports {list(ports)}: give at least one, and each once.")
    if not all(1 <= port <= 65535 for port in ports):
        raise ConfigError(f"Ports {list(ports)}: a UDP port lies between 1 and 65535.")
    result = Dumped(by_port=dict.fromkeys(ports, 0), kernel_drops=dict.fromkeys(ports, 0))
    with ExitStack() as stack:
        inlets = []
        for port in ports:
            sock, buffered = open_port(address, port, receive_buffer_bytes)
            inlets.append(_Inlet(stack.enter_context(closing(sock)), (str(address), port)))
            result.receive_buffer_bytes = min(result.receive_buffer_bytes or buffered.given, buffered.given)
        file = stack.enter_context(_whole_file(path))
        ready()
        poll = select.poll()
        for inlet in inlets:
            poll.register(inlet.socket, select.POLLIN)
        told = time.monotonic()
        stopped_ns: int | None = None
        while count is None or result.datagrams < count:
            if stopped_ns is None and stop():
                stopped_ns = time.time_ns()
            batch = _take(poll, inlets, _NAP_S if stopped_ns is None else 0)
            if stopped_ns is not None:
                batch = [d for d in batch if d.time_ns <= stopped_ns]
                if not batch:
                    break
            _keep(batch[: None if count is None else count - result.datagrams], file, result)
            if progress is not None and time.monotonic() - told >= _PROGRESS_S:
                told = time.monotonic()
                _count_drops(inlets, result)
                progress(result)
        _count_drops(inlets, result)
    return result


def save(datagrams: Iterable[pcap.Datagram], path: Path) -> int:
    """Write datagrams to a new pcap file; return how many.

    Raises
    ------
    StoreError
        If the file exists or cannot be written.
    """
    n = 0
    with _whole_file(path) as file:
        for n, datagram in enumerate(datagrams, 1):  # noqa: B007 - the count is the result
            file.write(pcap.record(datagram))
    return n


def convert(source: Path, path: Path, *, start_udp_port: int, interval_ns: int = 10_000) -> int:
    """Write a NumPy archive of packets as a pcap file; return how many.

    Parameters
    ----------
    source:
        ``.npz`` of arrays (packet, byte) uint8: one a module, in the order of their names.
    start_udp_port:
        The i-th array goes to port ``start_udp_port + i``.
    interval_ns:
        Time between two packets of a module.

    Raises
    ------
    StoreError
        If the archive cannot be read or holds something else, or the file cannot be written.
    """
    try:
        with np.load(source, allow_pickle=False) as archive:
            modules = [archive[name] for name in sorted(archive.files)]
    except (OSError, ValueError, BadZipFile) as error:
        raise StoreError(f"Cannot read {source} as a NumPy archive: {error}.") from error
    if any(packets.ndim != 2 or packets.dtype != np.uint8 for packets in modules):
        raise StoreError(f"{source} holds arrays that are not (packet, byte) uint8.")
    start_ns, host = time.time_ns(), "127.0.0.1"
    datagrams = [
        pcap.Datagram(start_ns + i * interval_ns, (host, 0), (host, start_udp_port + m), packet.tobytes())
        for m, packets in enumerate(modules)
        for i, packet in enumerate(packets)
    ]
    return save(sorted(datagrams, key=lambda d: d.time_ns), path)


class _Inlet:
    """One bound port, read without waiting."""

    def __init__(self, sock: socket.socket, destination: pcap.Address) -> None:
        self.socket = sock
        self.destination = destination
        self._buffer = bytearray(2**16)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def take(self, most: int) -> Iterator[pcap.Datagram]:
        room = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(4)
        for _ in range(most):
            try:
                n, notes, _flags, source = self.socket.recvmsg_into([self._buffer], room)
            except BlockingIOError:
                return
            time_ns = next((_nanoseconds(data) for level, kind, data in notes if kind == _SO_TIMESTAMPNS), 0)
            payload = bytes(memoryview(self._buffer)[:n])
            yield pcap.Datagram(time_ns or time.time_ns(), source, self.destination, payload)

    def drops(self) -> int:
        """Return how many datagrams the kernel dropped so far: what SO_RXQ_OVFL tells, and those after."""
        words = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
        return int(struct.unpack(f"@{_MEMINFO_WORDS}I", words)[_MEMINFO_DROPS])


def _nanoseconds(timespec: bytes) -> int:
    seconds, ns = _TIMESPEC.unpack(timespec)
    return int(seconds) * 10**9 + int(ns)


def _take(poll: select.poll, inlets: Sequence[_Inlet], timeout_s: float) -> list[pcap.Datagram]:
    """Return what has come, at most `_BATCH` of each port, in the order of arrival."""
    ready = {fd for fd, _ in poll.poll(timeout_s * 1000)}
    batch = [d for inlet in inlets if inlet.socket.fileno() in ready for d in inlet.take(_BATCH)]
    return sorted(batch, key=lambda d: d.time_ns)


def _keep(batch: Sequence[pcap.Datagram], file: BinaryIO, result: Dumped) -> None:
    for datagram in batch:
        file.write(pcap.record(datagram))
        result.bytes += len(datagram.payload)
        result.by_port[datagram.destination[1]] += 1
    result.datagrams += len(batch)


def _count_drops(inlets: Sequence[_Inlet], result: Dumped) -> None:
    for inlet in inlets:
        result.kernel_drops[inlet.destination[1]] = inlet.drops()


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new pcap file that gets its name only when the block ends well."""
    part = part_of(path)
    taken = StoreError(f"The file {path} exists; files are never overwritten.", "Give another name.")
    if os.path.lexists(path):
        raise taken
    try:
        file = part.open("xb", buffering=_BLOCK_BYTES)
    except FileExistsError as error:
        raise StoreError(
            f"{part} was left by a dump that did not end, or that is still running.",
            "If none is running, it can be read as it is: rename or remove it.",
        ) from error
    except OSError as error:
        raise explain(error, f"Opening {part}") from error
    try:
        with file:
            file.write(pcap.file_header())
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename, never over another file
        part.unlink()
    except FileExistsError as error:
        raise taken from error
    except OSError as error:
        raise explain(error, f"Writing {part}") from error
