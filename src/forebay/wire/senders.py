"""Which module sent a datagram: by the last byte of its address, as at the camera, or by a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.wire.target import N_MODULES

_V4_PREFIX = bytes(10) + b"\xff\xff"
_PER_NETWORK = 100
"""A module's address ends in 100 + its number, or 200 + it, or only in it."""


def packed(address: str) -> bytes:
    """Return the 16 bytes of an address as IPv6, one of IPv4 as ``::ffff:a.b.c.d``.

    Raises
    ------
    ConfigError
        If it is no address.
    """
    try:
        value = ip_address(address)
    except ValueError as error:
        raise ConfigError(f"{address!r} is not an IP address.", "Write it a.b.c.d, or as IPv6.") from error
    return _V4_PREFIX + value.packed if isinstance(value, IPv4Address) else value.packed


@dataclass(frozen=True)
class ModuleRule:
    """How addresses name modules.

    Attributes
    ----------
    relaxed:
        Numbers beyond the last module are taken modulo 32 instead of being foreign; two modules may then
        have the same number.
    table:
        Address -> module. Where it is not empty, only its addresses are modules: for networks of other
        habits, and for IPv6.

    Raises
    ------
    ConfigError
        If the table names no address, or a module that does not exist, or a module twice.
    """

    relaxed: bool = False
    table: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for address, module in self.table.items():
            packed(address)
            if not 0 <= module < N_MODULES:
                raise ConfigError(
                    f"Address {address} is said to be of module {module}.",
                    f"Modules are 0 to {N_MODULES - 1}.",
                )
        if len(set(self.table.values())) < len(self.table):
            raise ConfigError("Two addresses are said to be of the same module.", "Give each one its own.")

    def modules(self, senders: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the module of each sender, -1 where it is none.

        Parameters
        ----------
        senders:
            (datagram, 16) addresses as IPv6, those of IPv4 as ``::ffff:a.b.c.d``.
        """
        if self.table:
            return self._listed(senders)
        modules = (senders[:, 15] % _PER_NETWORK).astype(np.int64)
        if self.relaxed:
            modules %= N_MODULES
        is_v4 = (senders[:, :12] == np.frombuffer(_V4_PREFIX, np.uint8)).all(axis=1)
        modules[~is_v4 | (modules >= N_MODULES)] = -1
        return modules

    def _listed(self, senders: NDArray[np.uint8]) -> NDArray[np.int64]:
        modules = np.full(len(senders), -1)
        for address, module in self.table.items():
            known = np.frombuffer(packed(address), np.uint8)
            modules[(senders == known).all(axis=1)] = module
        return modules
