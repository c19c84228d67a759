"""One simulated module and its link: its prepared packets, its faults and its socket."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from forebay import _native
from forebay.errors import ConfigError
from forebay.sim.beats import Beat
from forebay.sim.faults import Fate, Plan, plan
from forebay.sim.options import Options, beat_fields, module_headers
from forebay.sim.pattern import CYCLE, pattern
from forebay.wire.packet import PacketLayout, join

_SEND_BUFFER_BYTES = 8 * 2**20
_SPREAD_PACKETS = 2  # sent together where a readout takes time
_IP_MTU = 14  # Linux: getsockopt at level IPPROTO_IP, not named by the socket module
_IP_AND_UDP_BYTES = 28

_Queued = tuple[NDArray[np.float64], NDArray[np.uint8]]
"""Places of datagrams in the stream and the datagrams, (datagram, byte)."""


class Link:
    """Sends what one module makes at each beat.

    All `CYCLE` frames are prepared once; a beat rewrites the header fields that change and hands the
    packets to the kernel as they lie. Only frames that a fault touches are copied.

    Raises
    ------
    ConfigError
        If the host is not known or a local address is not ours.
    """

    def __init__(self, options: Options, module: int) -> None:
        self._options = options
        self._module = module
        layout = options.layout
        self._constant = module_headers(options, module)
        frames = (pattern(options.pattern, layout, turn, module) for turn in range(CYCLE))
        self._prepared = [join(layout, self._constant, frame) for frame in frames]
        self._carried: list[_Queued] = []
        self._held: dict[int, list[NDArray[np.uint8]]] = {}
        self.counts: Counter[str] = Counter()
        source = options.sources[module] if options.sources else ""
        port = options.start_udp_port + module
        self._socket = _connected(options.host, port, source)
        self._foreign: socket.socket | None = None
        if options.faults.foreign:
            try:
                self._foreign = _connected(options.host, port, options.faults.foreign_address)
            except ConfigError:
                self._socket.close()
                raise
        mtu = self._socket.getsockopt(socket.IPPROTO_IP, _IP_MTU)
        self._segment = options.segment and mtu >= layout.packet_bytes + _IP_AND_UDP_BYTES

    def send(self, beat: Beat) -> None:
        """Send this module's share of a beat."""
        datagrams = self._prepared[beat.pulse_id % CYCLE]
        _write_fields(self._options.layout, datagrams, beat_fields(self._options, beat))
        if self._options.faults:
            self._send_faulty(beat, datagrams)
        else:
            self.counts["sent"] += len(datagrams)
            self._send_all(datagrams)

    def finish(self) -> None:
        """Send what was overtaken at the last beat; what is held back longer is lost."""
        while self._carried:
            self._send_all(self._in_order([]))
        for held in self._held.values():
            n_lost = sum(map(len, held))
            self.counts["lost"] += n_lost
            self.counts["late"] -= n_lost
        self._held.clear()

    def close(self) -> None:
        """Close the sockets."""
        self._socket.close()
        if self._foreign is not None:
            self._foreign.close()

    def _send_faulty(self, beat: Beat, datagrams: NDArray[np.uint8]) -> None:
        layout = self._options.layout
        frame = plan(self._options.faults, beat, self._module, layout.packets_per_frame)
        random = np.random.default_rng(frame.salt)
        self.counts.update(frame.counts())
        late = np.flatnonzero(frame.fate == Fate.LATE)
        if late.size:
            self._held.setdefault(beat.index + self._options.faults.late_pulses, []).append(datagrams[late])
        queued = _planned(layout, frame, datagrams, random)
        queued += [(np.zeros(len(rows)), rows) for rows in self._held.pop(beat.index, [])]
        rows = self._in_order(queued)
        # Odd and foreign datagrams come in the middle of the frame, where they can do most harm.
        self._send_all(rows[: len(rows) // 2])
        self._send_each(self._socket, _odd_lengths(layout, frame, datagrams, random))
        if self._foreign is not None and frame.n_foreign:
            self._send_each(self._foreign, _foreign(layout, frame, datagrams, random))
        self._send_all(rows[len(rows) // 2 :])

    def _in_order(self, queued: list[_Queued]) -> NDArray[np.uint8]:
        """Return what leaves with this frame, in order, and keep what leaves with the next."""
        n_packets = self._options.layout.packets_per_frame
        queued = self._carried + queued
        if not queued:
            return np.empty((0, self._options.layout.packet_bytes), np.uint8)
        places = np.concatenate([p for p, _ in queued])
        rows = np.concatenate([r for _, r in queued])
        next_frame = places >= n_packets
        self._carried = [(places[next_frame] - n_packets, rows[next_frame])] if next_frame.any() else []
        order = np.argsort(places, kind="stable")
        return np.ascontiguousarray(rows[order[: len(order) - np.count_nonzero(next_frame)]])

    def _send_all(self, rows: NDArray[np.uint8]) -> None:
        if not len(rows):
            return
        readout_s = self._options.readout_s
        if readout_s:
            due = time.monotonic()
            for start in range(0, len(rows), _SPREAD_PACKETS):
                group = rows[start : start + _SPREAD_PACKETS]
                _native.send_datagrams(self._socket.fileno(), group, segment=False)
                due += readout_s * len(group) / self._options.layout.packets_per_frame
                time.sleep(max(0.0, due - time.monotonic()))
        else:
            _native.send_datagrams(self._socket.fileno(), rows, self._segment)
        self.counts["packets"] += len(rows)
        self.counts["bytes"] += rows.size

    def _send_each(self, out: socket.socket, datagrams: Iterable[bytes]) -> None:
        for datagram in datagrams:
            try:
                out.send(datagram)
            except ConnectionRefusedError:  # nobody listened to an earlier one: this one was not sent
                out.send(datagram)
            self.counts["packets"] += 1
            self.counts["bytes"] += len(datagram)


def _planned(
    layout: PacketLayout, frame: Plan, datagrams: NDArray[np.uint8], random: np.random.Generator
) -> list[_Queued]:
    """Return copies of the datagrams of the right length that this frame puts into the stream."""
    chosen = np.flatnonzero(np.isin(frame.fate, (Fate.SENT, Fate.WRONG_NUMBER, Fate.WRONG_PULSE)))
    rows = datagrams[chosen]
    head = _head(layout, rows)
    for i in np.flatnonzero(frame.fate[chosen] == Fate.WRONG_NUMBER):
        head[layout.packet][i] = _wrong_number(layout, random)
    for i in np.flatnonzero(frame.fate[chosen] == Fate.WRONG_PULSE):
        head[layout.pulse_id][i] = _wrong_pulse(layout, random)
    queued: list[_Queued] = [(frame.place[chosen], rows)]
    twice = np.flatnonzero(frame.again >= 0)
    if twice.size:
        queued.append((frame.again[twice], datagrams[twice]))
    n_garbage = frame.n_garbage // 2
    if n_garbage:
        rows = random.integers(0, 256, (n_garbage, layout.packet_bytes), np.uint8)
        _head(layout, rows)[layout.packet] = _wrong_number(layout, random)
        queued.append((random.uniform(0, layout.packets_per_frame, n_garbage), rows))
    return queued


def _odd_lengths(
    layout: PacketLayout, frame: Plan, datagrams: NDArray[np.uint8], random: np.random.Generator
) -> list[bytes]:
    size = layout.packet_bytes
    out = [
        datagrams[i].tobytes()[: int(random.integers(1, size))]
        for i in np.flatnonzero(frame.fate == Fate.SHORT)
    ]
    out += [
        datagrams[i].tobytes() + random.bytes(int(random.integers(1, 64)))
        for i in np.flatnonzero(frame.fate == Fate.LONG)
    ]
    out += [b""] * int(np.count_nonzero(frame.fate == Fate.EMPTY))
    n_garbage = frame.n_garbage - frame.n_garbage // 2
    out += [random.bytes(int(random.integers(1, size))) for _ in range(n_garbage)]
    return out


def _foreign(
    layout: PacketLayout, frame: Plan, datagrams: NDArray[np.uint8], random: np.random.Generator
) -> list[bytes]:
    chosen = datagrams[random.integers(0, layout.packets_per_frame, frame.n_foreign)]
    chosen[:, layout.header.itemsize :] = 0xFF
    return [row.tobytes() for row in chosen]


def _wrong_number(layout: PacketLayout, random: np.random.Generator) -> int:
    most = np.iinfo(layout.header[layout.packet]).max
    return int(random.choice([layout.packets_per_frame, layout.packets_per_frame + 1, most]))


def _wrong_pulse(layout: PacketLayout, random: np.random.Generator) -> float | int:
    field = layout.header[layout.pulse_id]
    if field.kind == "f":
        return float(random.choice([np.nan, np.inf, -np.inf, -1.0, 1.5, 2.0**53]))
    return -1 if field.kind == "i" else 2**63 + int(random.integers(2**62))


def _head(layout: PacketLayout, rows: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return the headers of datagrams, (datagram,), as a view."""
    return rows[:, : layout.header.itemsize].view(layout.header)[:, 0]


def _write_fields(layout: PacketLayout, datagrams: NDArray[np.uint8], values: dict[str, int]) -> None:
    head = _head(layout, datagrams)
    for name, value in values.items():
        head[name] = value


def _connected(host: str, port: int, source: str) -> socket.socket:
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if source:
            out.bind((source, 0))
        out.connect((host, port))
    except OSError as error:
        out.close()
        raise ConfigError(
            f"Cannot send to {host}:{port} from {source or 'any local address'}: {error}.",
            "Give a host that can be reached and a source address of this machine.",
        ) from error
    return out
