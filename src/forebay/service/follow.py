"""A source over a detector's ring that survives the restart of the services behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from forebay.config import Config
from forebay.errors import RingError
from forebay.event import Event
from forebay.ring.reader import RingReader
from forebay.ring.shared import SharedRing

_ATTACH_TIMEOUT_S = 10.0


class RingFollower:
    """Reads a ring, and the next one of the same name when its owner was restarted.

    Where only the builder was restarted, the ring goes on after its end, and so does the reading.

    Parameters
    ----------
    name:
        Name of the ring.
    start:
        Where to begin in the first ring, see `SharedRing.reader`; later rings are read from their start.

    Attributes
    ----------
    ring:
        The ring that is read now.

    Raises
    ------
    RingError
        If there is no ring yet.
    """

    def __init__(self, name: str, runtime_dir: Path, start: str | int = "newest") -> None:
        self._name = name
        self._runtime_dir = runtime_dir
        self.ring = SharedRing.attach(name, runtime_dir)
        self._reader: RingReader = self.ring.reader(start)
        self._is_over = False
        self._n_lost_before = 0

    @property
    def n_lost(self) -> int:
        """Events that left a ring's log before they were read."""
        return self._n_lost_before + self._reader.n_lost

    @property
    def n_behind(self) -> int:
        """Events released and not yet read."""
        return self._reader.n_behind

    def skip(self) -> None:
        """Go on with what comes from now on; what is left out does not count as lost."""
        self._n_lost_before += self._reader.n_lost
        self._reader = self.ring.reader("newest")

    def read(self, timeout: float) -> Sequence[Event]:
        """Return the next events; while there is no ring, wait for one. Never None."""
        if self._is_over:
            self._go_on(timeout)
        events = () if self._is_over else self._reader.read(timeout)
        self._is_over = self._is_over or events is None
        return events or ()

    def _go_on(self, timeout: float) -> None:
        if self.ring.owner_lives and not self.ring.is_finished:
            self._is_over = False
            return
        try:
            ring = SharedRing.attach(self._name, self._runtime_dir)
        except RingError:
            time.sleep(min(timeout, 0.05))
            return
        if ring.generation == self.ring.generation:
            ring.close()
            time.sleep(min(timeout, 0.05))
            return
        self.ring.close()
        self.ring = ring
        self._n_lost_before += self._reader.n_lost
        self._reader = ring.reader(0)  # what has left it already counts as lost
        self._is_over = False

    def close(self) -> None:
        """Let go of the ring; may be called twice."""
        self.ring.close()


def follow(config: Config, name: str, stop: threading.Event, start: str = "newest") -> RingFollower | None:
    """Follow a detector's ring, as soon as there is one; None if `stop` comes first.

    Raises
    ------
    RingError
        If there is none within 10 s.
    """
    end = time.monotonic() + _ATTACH_TIMEOUT_S
    while True:
        try:
            return RingFollower(name, config.runtime_dir, start)
        except RingError:
            if stop.wait(0.05):
                return None
            if time.monotonic() > end:
                raise
