"""Which components of the original a core knows, in a file for the core after it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from forebay.errors import WireError
from forebay.service.process import say
from forebay.wire import xylem as x


class KnownFile:
    """A line for each component: how it registered. A file that cannot be read or written ends no core."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> list[x.Register]:
        """Return those that the core before knew; what is no line of such a file is left out."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            self._say("cannot be read", error)
            return []
        return [one for one in map(_register, lines) if one is not None]

    def save(self, known: Sequence[x.Register]) -> None:
        """Put these in the place of all others."""
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            new.write_bytes(b"".join(x.encode(one)[1] + b"\n" for one in known))
            new.replace(self.path)
        except OSError as error:
            self._say("cannot be written", error)

    def _say(self, what: str, error: OSError) -> None:
        text = (
            f"components of the original that are running will end if this core is killed: {self.path} {what}"
        )
        say(text, logging.WARNING, reason=error.strerror)


def _register(line: bytes) -> x.Register | None:
    try:
        found = x.decode([b"NEW", line])
    except WireError:
        return None
    return found if isinstance(found, x.Register) else None
