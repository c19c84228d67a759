"""Where a core books its runs; the services say where that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

CUT_OFF: Final = "the core ended before the run did"


@dataclass(frozen=True)
class OpenRun:
    """The last run, which had not ended when its core was killed.

    Attributes
    ----------
    is_running:
        Whether it took data, and nobody had asked for its end.
    components:
        Names of those without which it cannot go on -> their processes, see `forebay.wire.xylem.Register`.
    """

    number: int
    who: str
    components: Mapping[str, str]
    is_running: bool = True


class Book(Protocol):
    """Runs, booked for good."""

    def open_run(self) -> OpenRun | None:
        """Return the run that had not ended when the core before this one was killed, if it was the last."""
        ...

    def prepare(
        self, who: str, comment: str, configuration: dict[str, Any], components: Mapping[str, str]
    ) -> int:
        """Book a run and return its number, which is never given out again."""
        ...

    def begin(self, run: int) -> None:
        """Write down that the run takes data from now on."""
        ...

    def ending(self, run: int) -> None:
        """Write down that the run is about to end, so that it does not go on whatever happens."""
        ...

    def end(self, run: int, reason: str, account: dict[str, Any]) -> None:
        """Write down that the run is over: why, and what each component did."""
        ...


@dataclass
class MemoryBook:
    """A book that is forgotten with its process, for tests."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    left: OpenRun | None = None

    def open_run(self) -> OpenRun | None:
        """See `Book`."""
        return self.left

    def prepare(
        self, who: str, comment: str, configuration: dict[str, Any], components: Mapping[str, str]
    ) -> int:
        """See `Book`."""
        self.runs.append(
            {
                "who": who,
                "comment": comment,
                "configuration": configuration,
                "components": dict(components),
                "state": "prepared",
            }
        )
        return len(self.runs)

    def begin(self, run: int) -> None:
        """See `Book`."""
        self.runs[run - 1]["state"] = "running"

    def ending(self, run: int) -> None:
        """See `Book`."""
        self.runs[run - 1]["state"] = "ending"

    def end(self, run: int, reason: str, account: dict[str, Any]) -> None:
        """See `Book`."""
        self.runs[run - 1] |= {"state": "ended", "reason": reason, "account": account}
