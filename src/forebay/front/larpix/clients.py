"""The components that a core knows, and where each has its data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from forebay.wire.xylem import Register

BEATS: Final = 5
"""Heartbeats without a sign of life after which a component, or the core, is given up."""

STORAGE: Final = "Offline storage"

ESSENTIAL: Final = ("LArPix board", "LArPix aggregator", STORAGE)
"""Components without which a run cannot go on."""

BOARD_GROUP: Final = "BOARD"
"""Group of the components that make data."""

HEARTBEATS_MS: Final = (10, 60_000)
MOST_CLIENTS: Final = 256


@dataclass
class Client:
    """One component that lives.

    Attributes
    ----------
    expiry:
        Seconds of the core's clock at which it is given up.
    perhaps:
        Names of others that it may be: it was taken over from another core, and looks the same as they do.
    """

    identity: bytes
    name: str
    group: str
    heartbeat_s: float
    connections: tuple[str, ...]
    actions: dict[str, Any]
    confirms: bool
    instance: str
    expiry: float = 0.0
    perhaps: tuple[str, ...] = ()

    @property
    def is_essential(self) -> bool:
        """Whether a run cannot go on without it."""
        return self.is_board or self.name in ESSENTIAL

    @property
    def is_board(self) -> bool:
        """Whether it makes data, and thus begins last and ends first."""
        return self.group == BOARD_GROUP

    def heard(self, now: float) -> None:
        """Take a sign of life."""
        self.expiry = now + BEATS * self.heartbeat_s


@dataclass
class Clients:
    """Components by the identity of their connection; names are unique.

    Attributes
    ----------
    addresses:
        Group -> name of a component -> where it has its data, the newest last.
    """

    by_identity: dict[bytes, Client] = field(default_factory=dict)
    addresses: dict[str, dict[str, str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self.by_identity.values()))

    def add(self, identity: bytes, new: Register, now: float) -> str:
        """Take a component in, or return why it is not taken."""
        low, high = HEARTBEATS_MS
        if not new.name or not low <= new.heartbeat_ms <= high:
            return f"A component needs a name, and a heartbeat of {low} to {high} ms."
        before = self.named(new.name)
        if before is not None and before.identity != identity:
            return (
                f"There is a component named {new.name} already. Stop it, or wait until it is given up, "
                f"{BEATS} heartbeats after its end."
            )
        if before is None and len(self.by_identity) >= MOST_CLIENTS:
            return f"There are {MOST_CLIENTS} components, and no room for more. Stop one."
        client = Client(
            identity,
            new.name,
            new.short_name,
            new.heartbeat_ms / 1000,
            tuple(new.connections),
            new.actions,
            new.confirms,
            new.instance,
        )
        client.heard(now)
        self.by_identity[identity] = client
        for group, address in new.addresses.items():
            known = self.addresses.setdefault(group, {})
            known.pop(new.name, None)
            known[new.name] = address
        return ""

    def instance(self, new: Register) -> Client | None:
        """Return the component that registers again, by another connection."""
        before = self.named(new.name)
        return before if before is not None and new.instance and before.instance == new.instance else None

    def remove(self, client: Client) -> None:
        """Forget a component."""
        del self.by_identity[client.identity]

    def wanted(self, client: Client) -> dict[str, Any]:
        """Return group -> address of a component's connections, `{}` for those that are not known.

        A component of the original knows one address, the newest. Ours are told name -> address of everybody
        in the group, and no address for those that are gone.
        """
        told: dict[str, Any] = {}
        for group in client.connections:
            known = self.addresses.get(group, {})
            newest = [address for address in known.values() if address][-1:]
            told[group] = dict(known) if client.confirms else (newest[0] if newest else {})
        return told

    def forget_addresses(self, client: Client) -> set[str]:
        """Forget where a component had its data, unless nobody else of its group is known; return groups."""
        groups = set()
        for group, known in self.addresses.items():
            if known.get(client.name) and sum(map(bool, known.values())) > 1:
                known[client.name] = ""
                groups.add(group)
        return groups

    def expired(self, now: float) -> list[Client]:
        """Remove those that gave no sign of life in time, and return them."""
        lost = [client for client in self if now > client.expiry]
        for client in lost:
            del self.by_identity[client.identity]
        return lost

    def get(self, identity: bytes) -> Client | None:
        """Return the component of a connection."""
        return self.by_identity.get(identity)

    def named(self, name: str) -> Client | None:
        """Return the component of a name."""
        return next((one for one in self if one.name == name), None)

    @property
    def names(self) -> list[str]:
        """Names in the order of registration."""
        return [client.name for client in self]
