"""What carries out a job is given: the job, where its files go, when to end, and how to say how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from forebay.config import Config
from forebay.job import Job
from forebay.store.catalog import File

Why = Literal["", "cancel", "finish", "deadline", "shutdown", "lost"]
"""Why a job is to end before its end: somebody cancelled it, said that it is enough, time is over, this
worker is to stop, or another one has the job, because this one had not been heard of for so long."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a job is.

    Attributes
    ----------
    n_done, n_asked:
        Mostly pulses; `n_asked` is None while nobody knows.
    facts:
        What else is worth saying: rates, losses, bytes; anything that JSON can say.
    """

    n_done: int
    n_asked: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    Attributes
    ----------
    result:
        Files, counts, counters; anything that JSON can say.
    reason:
        Why it ended as it did, for a person.
    failed:
        Whether what was asked for was not done, although there may be a file.
    files:
        Files that it made, to be booked.
    checked:
        Files that it checked, each with ``ok``, ``loss`` or ``problem``.
    """

    result: dict[str, Any]
    reason: str = ""
    failed: bool = False
    files: tuple[File, ...] = ()
    checked: dict[str, str] = field(default_factory=dict)


class Task:
    """A job in the hands of this process.

    Parameters
    ----------
    directory:
        Folder of the proposal.

    Attributes
    ----------
    stop:
        Set when the job is to end now; `why` says why.
    """

    def __init__(self, config: Config, job: Job, directory: Path) -> None:
        self.config = config
        self.job = job
        self.directory = directory
        self.stop = threading.Event()
        self.why: Why = ""
        self._ending = threading.Lock()
        self._standing: Callable[[], Standing] = lambda: Standing(0, job.n_asked)

    def end(self, why: Why) -> None:
        """Ask the job to end; the first reason counts. Any thread may."""
        with self._ending:
            if not self.stop.is_set():
                self.why = why
                self.stop.set()

    def follow(self, standing: Callable[[], Standing]) -> None:
        """Say where to ask, from another thread, how far the job is."""
        self._standing = standing

    @property
    def standing(self) -> Standing:
        """How far the job is."""
        return self._standing()


Work = Callable[[Task], Outcome]
"""Carries out a job; a `ForebayError` is its failure and reason."""
