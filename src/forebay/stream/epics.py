"""Process variables as they change: one subscription each, by Channel Access or pvAccess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from forebay.errors import ConfigError
from forebay.stream.epics_ca import CaClient
from forebay.stream.epics_inbox import EpicsCounters, Inbox
from forebay.stream.epics_pva import PvaClient
from forebay.wire.epics import Update, split_name


class Client(Protocol):
    """Subscriptions of one protocol; they put what comes into an `Inbox`."""

    def close(self) -> None:
        """End all subscriptions; nothing is put afterwards."""
        ...


class EpicsSource:
    """The updates of some process variables; one a process, because Channel Access has one context.

    Servers are found as EPICS does: ``EPICS_CA_ADDR_LIST``, ``EPICS_PVA_ADDR_LIST`` and their like.
    A channel that is lost is found again by itself; its type and length may be others then.

    Parameters
    ----------
    names:
        ``X`` or ``ca://X`` by Channel Access, ``pva://X`` by pvAccess. Updates carry the name as given.
    archive_deadband:
        Also take what the archive deadband of a record lets through (mask VALUE | ALARM | LOG instead of
        VALUE | ALARM); Channel Access only.
    long_strings:
        Names of character waveforms that are text.

    Raises
    ------
    ConfigError
        If a library is missing, or a name is given twice.
    """

    def __init__(
        self, names: Sequence[str], *, archive_deadband: bool = False, long_strings: Sequence[str] = ()
    ) -> None:
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise ConfigError(f"Process variables are named twice: {', '.join(twice)}.", "Name each once.")
        self._inbox = Inbox(names)
        self._clients: list[Client] = []
        by_ca = {name: plain for name in names for kind, plain in [split_name(name)] if kind == "ca"}
        by_pva = {name: plain for name in names for kind, plain in [split_name(name)] if kind == "pva"}
        try:
            if by_ca:
                self._clients.append(CaClient(by_ca, self._inbox, archive_deadband, frozenset(long_strings)))
            if by_pva:
                self._clients.append(PvaClient(by_pva, self._inbox))
        except BaseException:
            self.close()
            raise

    @property
    def counters(self) -> EpicsCounters:
        """What came from the servers."""
        return self._inbox.counters

    @property
    def n_connected(self) -> int:
        """How many channels are connected."""
        return self._inbox.n_connected

    def now(self) -> int:
        """Return the time, later than that of everything that was read, ns since 1970."""
        return self._inbox.now()

    def read(self, timeout: float) -> Sequence[Update] | None:
        """Return all updates that wait, in order of arrival; wait at most `timeout` seconds for one.

        ``()`` means nothing yet, None never again. The first update of a channel is its value when it
        answers; before that it is disconnected.
        """
        return self._inbox.take(timeout)

    def close(self) -> None:
        """End all subscriptions; what came before can still be read. May be called twice."""
        for client in self._clients:
            client.close()
        self._clients = []
        self._inbox.close()
