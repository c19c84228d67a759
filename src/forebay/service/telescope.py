"""Where the telescope points to, as messages: always the same, or the lines of a file."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from forebay.errors import WireError
from forebay.service.process import say
from forebay.wire import cdts

_MOST_BYTES = 2**20  # that are read together


def pointing(time_ns: int, ra: float, dec: float) -> bytes:
    """Return the message that the telescope pointed there at a time, ns since 1970 UTC."""
    sec, nsec = divmod(time_ns, 10**9)
    return cdts.encode(cdts.TELESCOPE, {"time": {"sec": sec, "nsec": nsec}, "ra": ra, "dec": dec})


class _Periodic(ABC):
    """Waits until it is time to look again."""

    def __init__(self, period_s: float, sleep: Callable[[float], None]) -> None:
        self.counters = {"received": 0, "messages": 0, "malformed": 0}
        self._period_s, self._sleep = period_s, sleep
        self._due_s = time.monotonic()

    def read(self, timeout: float) -> list[bytes]:
        """Return what is new if it is time to look; wait for that at most `timeout` seconds."""
        wait_s = self._due_s - time.monotonic()
        if wait_s > 0:
            self._sleep(min(wait_s, timeout))
        if time.monotonic() < self._due_s:
            return []
        self._due_s = time.monotonic() + self._period_s
        return self._look()

    @abstractmethod
    def _look(self) -> list[bytes]: ...

    def finish(self) -> list[bytes]:
        """Return what is only known to be whole at the end: nothing."""
        return []

    def close(self) -> None:  # noqa: B027 - there is nothing to override
        """Do nothing: nothing is held."""


class ConstantPointing(_Periodic):
    """The same direction again and again, with the time of day."""

    endpoint = "constant"

    def __init__(
        self, ra: float, dec: float, period_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(period_s, sleep)
        self._ra, self._dec = ra, dec

    def _look(self) -> list[bytes]:
        self.counters["received"] += 1
        self.counters["messages"] += 1
        return [pointing(time.time_ns(), self._ra, self._dec)]


class FilePointing(_Periodic):
    """The lines of a file to which somebody appends: the last one that is there, then every new one.

    A line is a JSON object with ``ra``, ``dec`` and, unless it is the time of reading, ``time`` in seconds
    since 1970 UTC. A file that is not there yet is waited for, one that was made anew is read from its
    beginning.

    Attributes
    ----------
    counters:
        Lines: ``received = messages + malformed``.
    """

    def __init__(self, path: Path, period_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(period_s, sleep)
        self.endpoint = str(path)
        self._path = path
        self._file_id: tuple[int, int] | None = None
        self._position = 0
        self._is_first = True

    def _look(self) -> list[bytes]:
        lines = self._new_lines()
        if self._is_first and lines:
            lines, self._is_first = lines[-1:], False
        found = []
        for line in lines:
            self.counters["received"] += 1
            try:
                found.append(_message(line))
            except WireError as error:
                self.counters["malformed"] += 1
                say("a line of the telescope is malformed", logging.WARNING, file=self._path, reason=error)
        self.counters["messages"] += len(found)
        return found

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if self._file_id != (found.st_dev, found.st_ino) or found.st_size < self._position:
                    self._file_id, self._position = (found.st_dev, found.st_ino), 0
                if self._is_first:
                    self._position = max(found.st_size - _MOST_BYTES, 0)
                file.seek(self._position)
                data = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return []
        except OSError as error:
            say("the file of the telescope cannot be read", logging.WARNING, file=self._path, reason=error)
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == _MOST_BYTES:
            whole = data  # no line is that long
        self._position += len(whole)
        return [line for line in whole.split(b"\n") if line.strip()]


def _message(line: bytes) -> bytes:
    try:
        value = json.loads(line)
        ra, dec = float(value["ra"]), float(value["dec"])
        time_ns = round(float(value["time"]) * 1e9) if "time" in value else time.time_ns()
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise WireError(f"{line[:80]!r} says no direction: {error!r}.") from error
    if not (math.isfinite(ra) and math.isfinite(dec) and 0 <= time_ns < 2**63):
        raise WireError(f"{line[:80]!r} says no direction: it is not finite.")
    try:
        return pointing(time_ns, ra, dec)
    except OverflowError as error:
        raise WireError(f"{line[:80]!r} says no direction: {error}.") from error
