"""Datagrams in, finished frames out: one native thread for each port, pixels straight into the ring."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from forebay._native import Port
from forebay.errors import ConfigError, ServiceError
from forebay.ring.shared import SharedRing
from forebay.ring.slots import FRAME
from forebay.wire.packet import PacketLayout

_SO_RXQ_OVFL = 40
_SO_RCVBUFFORCE = 33
_RECEIVE_TIMEOUT_S = 0.005
_QUEUE_FRAMES = 65_536


@dataclass(frozen=True, slots=True)
class ReceiveRules:
    """What a port takes for plausible, and when it gives up on packets.

    Attributes
    ----------
    reorder:
        An incomplete frame is closed as it stands when more than so many newer ones have begun.
    window:
        Steps that a pulse may lie behind the newest before it is late; at most half the ring's slots.
    max_rate:
        Fastest plausible counter, steps a second: a pulse that lies further ahead of the newest than
        `window` and this rate allow since the last packet is malformed, until its like persist.
    timeout_s:
        Longest time that an incomplete frame stays open.
    idle_s:
        It is closed earlier when packets of others came so long after its last one. While its socket holds
        unread packets a frame is closed for neither reason, up to four times `timeout_s`.
    quiet_s:
        After so long without a placed packet the next plausible one is followed, wherever it is.
    """

    reorder: int = 2
    window: int = 32
    max_rate: float = 10_000.0
    timeout_s: float = 0.25
    idle_s: float = 0.02
    quiet_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Buffered:
    """Socket buffer that was asked for and what the kernel gave, in bytes."""

    asked: int
    given: int


def open_port(
    address: IPv4Address | IPv6Address, port: int, receive_buffer_bytes: int
) -> tuple[socket.socket, Buffered]:
    """Bind one UDP port with a large buffer and a count of what the kernel drops.

    Raises
    ------
    ConfigError
        If the address is not ours or the port is taken or not allowed.
    """
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((str(address), port))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"UDP port {port} of {address} cannot be bound: {error.strerror}.",
            f"Find who has it with: ss -ulpn 'sport = :{port}'. Or configure another address or port.",
        ) from error
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer_bytes)
    except PermissionError:  # only root may pass net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    given = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it
    timeval = np.array([0, int(_RECEIVE_TIMEOUT_S * 1e6)], np.int64).tobytes()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    return sock, Buffered(receive_buffer_bytes, given)


class Receiver:
    """The ports of one detector, one for each module, port i at ``start_port + i``.

    Parameters
    ----------
    ring:
        Ring that this process owns; its slots receive the pixels.
    layout:
        The detector's packet table.
    sources:
        Address that each module sends from; empty where anybody may.
    module_ids:
        What each module's header says of itself in the layout's module field; empty where it is not
        looked at. Packets that say something else are foreign.
    """

    def __init__(
        self,
        ring: SharedRing,
        layout: PacketLayout,
        address: IPv4Address,
        start_port: int,
        sources: list[IPv4Address],
        rules: ReceiveRules,
        receive_buffer_bytes: int,
        module_ids: Sequence[int] = (),
    ) -> None:
        if module_ids and layout.module is None:
            raise ConfigError(f"A {layout.name} header does not name the module.", "Leave out module_ids.")
        self.buffers: list[Buffered] = []
        self._sockets: list[socket.socket] = []
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ports: list[Port] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        try:
            for i_module in range(ring.n_modules):
                sock, buffered = open_port(address, start_port + i_module, receive_buffer_bytes)
                self._sockets.append(sock)
                self.buffers.append(buffered)
                self._ports.append(
                    Port(
                        slots=ring.slots,
                        fd=sock.fileno(),
                        wake_fd=self._wake,
                        module=i_module,
                        payload_bytes=layout.payload_bytes,
                        pulse=_field(layout, layout.pulse_id),
                        packet=_field(layout, layout.packet),
                        module_field=_field(layout, layout.module or layout.packet),
                        module_id=module_ids[i_module] if module_ids else -1,
                        source=int.from_bytes(sources[i_module].packed, "little") if sources else 0,
                        reorder=rules.reorder,
                        window=rules.window,
                        max_rate=rules.max_rate,
                        timeout_ns=int(rules.timeout_s * 1e9),
                        idle_ns=int(rules.idle_s * 1e9),
                        quiet_ns=int(rules.quiet_s * 1e9),
                        queue=_QUEUE_FRAMES,
                    )
                )
        except BaseException:
            self._release()
            raise

    def start(self) -> None:
        """Start one thread a port; each stays in native code until `stop`."""
        for i_module, port in enumerate(self._ports):
            thread = threading.Thread(target=self._run, args=(port,), name=f"port {i_module}")
            self._threads.append(thread)
            thread.start()

    def _run(self, port: Port) -> None:
        try:
            port.run()
        except BaseException as error:  # noqa: BLE001 - raised again by `read`
            self._failures.append(error)
            os.eventfd_write(self._wake, 1)

    def read(self, timeout: float) -> NDArray[np.void]:
        """Return the ``FRAME`` records finished since; wait at most `timeout` seconds.

        Raises
        ------
        ServiceError
            If a port's socket failed.
        """
        ready, _, _ = select.select([self._wake], [], [], timeout)
        if ready:
            os.eventfd_read(self._wake)
        if self._failures:
            raise ServiceError(f"A port stopped receiving: {self._failures[0]}.") from self._failures[0]
        return self._take()

    def _take(self) -> NDArray[np.void]:
        return np.concatenate([port.take() for port in self._ports]).view(FRAME)

    def stop(self) -> NDArray[np.void]:
        """Drain the sockets, close every open frame, end the threads; return the last frames.

        May be called twice.
        """
        for port in self._ports:
            port.stop()
        for thread in self._threads:
            thread.join()
        last = self._take() if self._ports else np.empty(0, FRAME)
        self._release()
        return last

    def _release(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._ports.clear()
        self._threads.clear()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1


def _field(layout: PacketLayout, name: str) -> tuple[int, int, str]:
    """Offset, size and kind of a header field, as native code wants them."""
    assert layout.header.fields is not None
    dtype, offset = layout.header.fields[name][:2]
    return offset, dtype.itemsize, dtype.kind
