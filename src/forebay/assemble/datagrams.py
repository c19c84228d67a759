"""Datagrams of all modules of a camera from one UDP port: whole blocks out, everything else counted."""

from __future__ import annotations

import select
import socket
import time
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from forebay import _native
from forebay.assemble.receiver import open_port
from forebay.errors import ServiceError
from forebay.wire.senders import ModuleRule
from forebay.wire.target import BLOCK, N_MODULES, is_whole, split

COUNTERS = ("datagrams", "used_datagrams", "malformed", "foreign", "kernel_drop", "bytes")
"""Of `BlockReceiver`: ``datagrams = used_datagrams + malformed + foreign``; ``kernel_drop`` come on top."""

_ROWS = 256
_ROW_BYTES = 455 * BLOCK.itemsize  # more than any datagram has
_SO_MEMINFO = 55
_MEMINFO_WORDS = 9
_DROPS = 8

Batch = tuple[NDArray[np.int64], NDArray[np.void]]
"""Module of each block and the blocks, (block,) of `forebay.wire.target.BLOCK`, in order of arrival."""


class BlockReceiver:
    """One UDP port to which every module of a camera sends.

    Used from one thread.

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
    counters:
        By the names of `COUNTERS`.
    datagrams_of_module:
        (module,) datagrams that were whole.
    buffered:
        Socket buffer that was asked for and given.
    """

    def __init__(
        self, address: IPv4Address | IPv6Address, port: int, rule: ModuleRule, receive_buffer_bytes: int
    ) -> None:
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.datagrams_of_module = np.zeros(N_MODULES, np.int64)
        self._rule = rule
        self._socket, self.buffered = open_port(address, port, receive_buffer_bytes)
        self._rows = np.empty((_ROWS, _ROW_BYTES), np.uint8)  # only pages that are used take memory
        self._sizes = np.zeros(_ROWS, np.uint32)
        self._senders = np.zeros((_ROWS, 16), np.uint8)

    @property
    def port(self) -> int:
        """The UDP port."""
        port: int = self._socket.getsockname()[1]
        return port

    def read(self, timeout: float, gather_s: float = 0.0) -> Batch:
        """Return the blocks that wait in the socket; wait at most `timeout` seconds for the first.

        The arrays are the caller's own.

        Parameters
        ----------
        gather_s:
            Wait so long for others when the first has come: datagrams that come one by one cost far less
            in batches.

        Raises
        ------
        ServiceError
            If the socket fails.
        """
        if timeout > 0:
            ready, _, _ = select.select([self._socket], [], [], timeout)
            if ready and gather_s:
                time.sleep(gather_s)
        try:
            n = _native.receive_datagrams(self._socket.fileno(), self._rows, self._sizes, self._senders)
        except RuntimeError as error:
            raise ServiceError(f"Port {self.port} stopped receiving: {error}.") from error
        return self._sorted_out(n)

    def _sorted_out(self, n: int) -> Batch:
        counters = self.counters
        sizes = self._sizes[:n]
        modules = self._rule.modules(self._senders[:n])
        whole = is_whole(sizes, _ROW_BYTES)
        known = modules >= 0
        good = whole & known
        counters["datagrams"] += n
        counters["bytes"] += int(sizes.sum())
        counters["foreign"] += n - int(np.count_nonzero(known))
        counters["malformed"] += int(np.count_nonzero(known & ~whole))
        counters["used_datagrams"] += int(np.count_nonzero(good))
        self.datagrams_of_module += np.bincount(modules[good], minlength=N_MODULES)
        blocks, row = split(self._rows[:n], np.where(good, sizes, 0))
        return modules[row], blocks

    def count_drops(self) -> int:
        """Ask the kernel what it dropped since the socket was opened, and count it."""
        info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
        self.counters["kernel_drop"] = int(np.frombuffer(info, np.uint32)[_DROPS])
        return self.counters["kernel_drop"]

    def close(self) -> None:
        """Let go of the port; may be called twice."""
        self._socket.close()
