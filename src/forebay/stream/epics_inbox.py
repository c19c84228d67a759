"""Updates of process variables on their way from the threads of the protocols to the one that reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forebay.event import Array
from forebay.wire.epics import INVALID, UNKNOWN, Update

MAX_PENDING: Final = 500_000
"""Updates that wait to be read; more are not taken."""

MAX_PENDING_BYTES: Final = 2**30


@dataclass(slots=True)
class EpicsCounters:
    """What came from the servers: ``received = read + pending + not_taken``.

    `received` counts values and disconnections, `values` and `disconnections` which of these; `not_taken`
    found too many waiting, `unreadable` had a type that cannot be kept and are not among `received`.
    """

    received: int = 0
    values: int = 0
    disconnections: int = 0
    not_taken: int = 0
    unreadable: int = 0


class Inbox:
    """What came and was not read yet: bounded, for several threads."""

    def __init__(self, names: Sequence[str]) -> None:
        self.counters = EpicsCounters()
        self._connected = dict.fromkeys(names, False)
        self._changed = threading.Condition()
        self._pending: list[Update] = []
        self._pending_bytes = 0
        self._last_ns = 0
        self._closed = False

    @property
    def n_connected(self) -> int:
        """How many channels are connected."""
        with self._changed:
            return sum(self._connected.values())

    def put_value(self, name: str, timestamp_ns: int, status: str, severity: int, value: Array) -> None:
        """Take a value; it means that the channel is connected."""
        with self._changed:
            self._connected[name] = True
            self.counters.values += 1
            self._put(Update(name, self._now(), timestamp_ns, True, status, severity, value))

    def put_disconnected(self, name: str) -> None:
        """Take that a channel is not connected, unless that is known."""
        with self._changed:
            if self._connected[name]:
                self._connected[name] = False
                self.counters.disconnections += 1
                now_ns = self._now()
                self._put(Update(name, now_ns, now_ns, False, UNKNOWN, INVALID, None))

    def put_unreadable(self) -> None:
        """Count a value that cannot be kept."""
        with self._changed:
            self.counters.unreadable += 1

    def take(self, timeout: float) -> list[Update] | None:
        """Return all that waits, in order of arrival; see `EpicsSource.read`."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed, timeout)
            if not self._pending and self._closed:
                return None
            taken, self._pending, self._pending_bytes = self._pending, [], 0
            return taken

    def close(self) -> None:
        """Let `take` return what is left and then None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def now(self) -> int:
        """Return the time, later than that of everything that came, ns since 1970."""
        with self._changed:
            return self._now()

    def _now(self) -> int:
        """Return the time of an arrival: no two have the same, so that it names one update."""
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        return self._last_ns

    def _put(self, update: Update) -> None:
        self.counters.received += 1
        n_bytes = 0 if update.value is None else update.value.nbytes
        if len(self._pending) >= MAX_PENDING or self._pending_bytes + n_bytes > MAX_PENDING_BYTES:
            self.counters.not_taken += 1
            return
        self._pending_bytes += n_bytes
        self._pending.append(update)
        if len(self._pending) == 1:
            self._changed.notify_all()
