"""Where a core books its runs; the services say where that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


class Book(Protocol):
    """Runs, booked for good."""

    def prepare(self, who: str, comment: str, configuration: dict[str, Any]) -> int:
        """Book a run and return its number, which is never given out again."""
        ...

    def begin(self, run: int) -> None:
        """Write down that the run takes data from now on."""
        ...

    def end(self, run: int, reason: str, account: dict[str, Any]) -> None:
        """Write down that the run is over: why, and what each component did."""
        ...


@dataclass
class MemoryBook:
    """A book that is forgotten with its process, for tests."""

    runs: list[dict[str, Any]] = field(default_factory=list)

    def prepare(self, who: str, comment: str, configuration: dict[str, Any]) -> int:
        """See `Book`."""
        run = {"who": who, "comment": comment, "configuration": configuration, "state": "prepared"}
        self.runs.append(run)
        return len(self.runs)

    def begin(self, run: int) -> None:
        """See `Book`."""
        self.runs[run - 1]["state"] = "running"

    def end(self, run: int, reason: str, account: dict[str, Any]) -> None:
        """See `Book`."""
        self.runs[run - 1] |= {"state": "ended", "reason": reason, "account": account}
