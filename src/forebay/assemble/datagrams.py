"""Datagrams of all modules of a camera from one UDP port: their blocks to readouts, all else counted."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from forebay._native import BlockPort, OpenReadouts
from forebay.assemble.receiver import open_port
from forebay.errors import ServiceError
from forebay.wire.senders import ModuleRule, packed

COUNTERS = ("datagrams", "used_datagrams", "malformed", "foreign", "bytes", "kernel_drop")
"""Of `BlockReceiver`: ``datagrams = used_datagrams + malformed + foreign``; ``kernel_drop`` come on top."""

_SO_MEMINFO = 55
_MEMINFO_WORDS = 9
_DROPS = 8
_DROPS_END = 2**32  # the kernel's count begins anew there


class BlockReceiver:
    """One UDP port to which every module of a camera sends.

    One thread fills; everything else may be called from any.

    Parameters
    ----------
    address, port:
        Where to listen; port 0 takes any that is free.
    rule:
        Which address is which module; others are foreign.

    Raises
    ------
    ConfigError
        If the address is not ours or the port is taken or not allowed.

    Attributes
    ----------
    buffered:
        Socket buffer that was asked for and given.
    """

    def __init__(
        self, address: IPv4Address | IPv6Address, port: int, rule: ModuleRule, receive_buffer_bytes: int
    ) -> None:
        self._kernel_drop = 0
        self._socket, self.buffered = open_port(address, port, receive_buffer_bytes)
        self._port = BlockPort(self._socket.fileno(), *_addresses(rule))

    @property
    def port(self) -> int:
        """The UDP port."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def counters(self) -> dict[str, int]:
        """By the names of `COUNTERS`; what the kernel dropped as of the last `count_drops`."""
        return dict(zip(COUNTERS, [*self._port.counters(), self._kernel_drop], strict=True))

    @property
    def datagrams_of_module(self) -> NDArray[np.int64]:
        """Datagrams that were whole, (module,)."""
        return np.array(self._port.datagrams_of_module(), np.int64)

    @property
    def changes_of_module(self) -> NDArray[np.int64]:
        """How often a module's address was another than before, (module,).

        Once, and it got another; more often, and two senders take themselves for the same module.
        """
        return np.array(self._port.changes_of_module(), np.int64)

    def fill(self, readouts: OpenReadouts, timeout: float, gather_s: float = 0.0) -> tuple[bool, bool]:
        """Put the blocks of what comes into readouts, in native code without Python's lock.

        It returns when something is due: a readout is done or overdue, or a block was refused. Then it is
        the turn of `forebay.assemble.timed.TimedBuilder.tick`. And it returns after `timeout` seconds; with
        0 it waits for nothing.

        Parameters
        ----------
        gather_s:
            Look seldom, for datagrams cost less together: when a readout is likely to be complete; and
            where it is not, and they are very many, so long after the last look. 0 looks at each.

        Returns
        -------
        Whether anything came, whole or not; and whether something is due.

        Raises
        ------
        ServiceError
            If the socket fails.
        """
        try:
            return self._port.fill(readouts, round(timeout * 1e9), round(gather_s * 1e9))
        except RuntimeError as error:
            raise ServiceError(f"Port {self.port} stopped receiving: {error}.") from error

    def count_drops(self) -> int:
        """Ask the kernel what it dropped since the socket was opened, and count it."""
        info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
        told = int(np.frombuffer(info, np.uint32)[_DROPS])
        self._kernel_drop += (told - self._kernel_drop) % _DROPS_END
        return self._kernel_drop

    def close(self) -> None:
        """Let go of the port; may be called twice."""
        self._socket.close()


def _addresses(rule: ModuleRule) -> tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.int8]]:
    """Return a rule as native code wants it: module of each last byte, listed addresses, their modules."""
    every = [np.frombuffer(packed(f"0.0.0.{last}"), np.uint8) for last in range(256)]
    of_last_byte = np.full(256, -1) if rule.table else rule.modules(np.stack(every))
    listed = [np.frombuffer(packed(address), np.uint8) for address in rule.table]
    addresses = np.array(listed, np.uint8).reshape(len(listed), 16)
    return of_last_byte.astype(np.int8), addresses, np.array(list(rule.table.values()), np.int8)
