"""What the catalogue hands out: frozen values of proposals, runs, acquisitions and files."""

from __future__ import annotations

from typing import Any

import msgspec


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A group's right to take data, and the folder that these go to.

    Attributes
    ----------
    name:
        Names it in this catalogue.
    directory:
        Absolute path below which its files lie.
    created_ns, closed_ns:
        ns since 1970, UTC; `closed_ns` is None while it may be written to.
    last_run, last_acquisition:
        The last numbers that were given out, 0 if none was; acquisitions are counted through all runs.
    """

    name: str
    directory: str
    created_ns: int = 0
    closed_ns: int | None = None
    last_run: int = 0
    last_acquisition: int = 0

    @property
    def closed(self) -> bool:
        """Whether nothing may be added to it any more."""
        return self.closed_ns is not None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A numbered stretch of a proposal's data.

    Attributes
    ----------
    number:
        1, 2, ... within the proposal, never used twice.
    state:
        A word of those who control runs; ``open`` unless they said another.
    tag, comment:
        What people wrote to it.
    parameters:
        What was asked for when it began, and what came of it; anything that JSON can say.
    started_ns, ended_ns:
        ns since 1970, UTC; `ended_ns` is None while it goes on.
    last_acquisition:
        How many acquisitions it has; their numbers are 1 .. `last_acquisition`.
    """

    proposal: str
    number: int
    state: str = "open"
    tag: str = ""
    comment: str = ""
    parameters: dict[str, Any] = {}
    started_ns: int = 0
    ended_ns: int | None = None
    last_acquisition: int = 0


class Acquisition(msgspec.Struct, frozen=True, kw_only=True):
    """One request inside a run.

    Attributes
    ----------
    number:
        1, 2, ... within the run.
    unique_number:
        1, 2, ... within the proposal.
    created_ns:
        ns since 1970, UTC.
    """

    proposal: str
    run: int
    number: int
    unique_number: int
    created_ns: int = 0


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is booked.

    Attributes
    ----------
    path:
        Absolute; names it in this catalogue.
    job:
        Id of the job that wrote it, or None.
    proposal, run, acquisition:
        Where it belongs, or None.
    source:
        Name of the detector or stream.
    n_bytes, sha256:
        Its size and, where somebody took it, its checksum in hexadecimal.
    first_pulse, last_pulse:
        The pulses that it spans, both included; None if it has none.
    n_expected, n_got, n_missing:
        Pulses asked for (None if nobody can say), pulses in it, pulses of which nothing came.
    created_ns:
        When it was booked: ns since 1970, UTC.
    checked, checked_ns:
        What ``forebay check`` last found (``ok``, ``loss``, ``problem``), and when; empty and None before.
    """

    path: str
    job: str | None = None
    proposal: str | None = None
    run: int | None = None
    acquisition: int | None = None
    source: str = ""
    n_bytes: int = 0
    sha256: str | None = None
    first_pulse: int | None = None
    last_pulse: int | None = None
    n_expected: int | None = None
    n_got: int = 0
    n_missing: int = 0
    created_ns: int = 0
    checked: str = ""
    checked_ns: int | None = None
