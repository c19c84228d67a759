"""What a check of a file says: values that print as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.event import Array

MAX_PROBLEMS = 10_000
"""Most problems of one check that a report lists; the last one says how many more there are."""

Severity = Literal["problem", "loss", "note"]


class Problem(msgspec.Struct, frozen=True):
    """Something a check found.

    Attributes
    ----------
    check:
        Name of the check, by which it can be skipped.
    severity:
        ``problem``: the file is not what it says; ``loss``: data that were asked for are not there and
        the file says so; ``note``: worth knowing. Notes alone leave the file good.
    pulse_id:
        The pulse it is about, or None.
    """

    check: str
    severity: Severity
    message: str
    pulse_id: int | None = None


class Report(msgspec.Struct, frozen=True):
    """The result of checking one file; `msgspec.json.encode` makes JSON of it.

    Attributes
    ----------
    rows:
        Label and value for a table: what was asked, got, lost.
    checks, skipped:
        Names of the checks that ran and of those left out.
    """

    path: str
    layout: str
    rows: list[tuple[str, str]]
    problems: list[Problem]
    checks: list[str]
    skipped: list[str]

    @property
    def is_good(self) -> bool:
        """Whether there is nothing but notes."""
        return all(problem.severity == "note" for problem in self.problems)

    def of(self, check: str) -> list[Problem]:
        """Return the problems that one check found."""
        return [problem for problem in self.problems if problem.check == check]


@dataclass
class Chunk:
    """One stored image: its row, its pulse, its bytes and, at first access, its pixels."""

    row: int
    pulse_id: int
    data: NDArray[np.uint8]
    decode: Callable[[NDArray[np.uint8]], Array]

    @cached_property
    def pixels(self) -> Array:
        """(row, column); `forebay.errors.WireError` if the bytes do not decompress."""
        return self.decode(self.data)


Found = Iterator[tuple[Severity, int | None, str]]
"""What a check yields: severity, pulse id or None, message."""


@dataclass(frozen=True)
class Check:
    """One check, by name; `run` looks at the file, `run_chunk` at one stored image of it."""

    name: str
    description: str
    run: Callable[[Any], Found] | None = None
    run_chunk: Callable[[Any, Chunk], Found] | None = None


@dataclass(frozen=True)
class Layout:
    """A kind of file that can be checked.

    Attributes
    ----------
    is_mine:
        Whether an open file has this layout.
    open:
        Make of an open file what the checks are given.
    rows:
        Table of the report.
    chunks:
        Stored images, every n-th of them.
    """

    checks: tuple[Check, ...]
    is_mine: Callable[[h5py.File], bool]
    open: Callable[[Path, h5py.File], Any]
    rows: Callable[[Any], list[tuple[str, str]]]
    chunks: Callable[[Any, int], Iterator[Chunk]]
