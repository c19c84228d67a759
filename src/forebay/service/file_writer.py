"""A writer of what is published, from its start to a stop, and what is said of it then."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from forebay.service.process import say

_POLL_S = 0.1


class FileWriter(Protocol):
    """A thread that listens and writes, as `forebay.service.sof_writer.SofWriter`."""

    @property
    def counters(self) -> Mapping[str, int]:
        """What came, was written, and was lost where that is known."""
        ...

    @property
    def paths(self) -> list[Path]:
        """Files begun, in order."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def is_alive(self) -> bool:
        """Whether it writes; it ends by itself where it cannot."""
        ...

    def close(self) -> None:
        """Write what is in flight and close the file; raise what went wrong."""
        ...


def write_until(
    stop: threading.Event,
    writer: FileWriter,
    tell: Callable[[FileWriter], None],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Let a writer write until `stop`, or its own end.

    Parameters
    ----------
    tell:
        Says what was written; called in any case, when the files are closed.
    ready:
        Called when it listens.

    Raises
    ------
    forebay.errors.ForebayError
        If something could not be written.
    """
    writer.start()
    ready()
    while not stop.wait(_POLL_S) and writer.is_alive():
        pass
    try:
        writer.close()
    finally:
        tell(writer)


def never_came(counters: Mapping[str, int]) -> str:
    """Return what to say of readouts that are missing between those that came; "" if none is.

    It is no failure of the writer: numbers are also missing where somebody paused the publishing.
    """
    lost = counters.get("lost", 0)
    return f"{lost} readouts never came: lost on the way, or withheld by pause-pub" if lost else ""


def say_written(writer: FileWriter) -> None:
    """Log files and counters of a writer."""
    level = logging.WARNING if never_came(writer.counters) else logging.INFO
    say("written", level, files=", ".join(map(str, writer.paths)) or "none", **writer.counters)


def print_written(writer: FileWriter) -> None:
    """Print files, one a line, and counters of a writer; what never came goes to standard error."""
    for path in writer.paths:
        print(path)
    print(", ".join(f"{name} {n}" for name, n in writer.counters.items()))
    if missing := never_came(writer.counters):
        print(missing, file=sys.stderr)
