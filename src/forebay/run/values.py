"""What the operator answers beside jobs and runs: values that any interface can show as they are."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from forebay.run.states import State

Topic = Literal["job", "run", "service", "worker", "gap"]
"""What an update is about: the first word of a status's key on the bus; a gap is that some may be missing."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a request would write, where, and how large; found out where the file would lie.

    Attributes
    ----------
    source, file, host:
        Which source goes into which file of which host; the file is a full path in which numbers that are
        yet to be drawn stand as ``{run}`` and ``{acquisition}``.
    n_asked:
        Pulses or images asked for; None where time or somebody ends it.
    most_bytes:
        Size if nothing can be compressed, and a stream goes on as it is; None where nobody knows.
    free_bytes:
        Free space of that disk.
    held:
        Pulses ``A..B`` that are still remembered there; None while there are none.
    """

    source: str
    file: str
    host: str
    n_asked: int | None
    most_bytes: int | None
    free_bytes: int
    held: str | None = None


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a service said that it is, and when.

    Attributes
    ----------
    key:
        ``service.HOST.NAME`` as told by a supervisor, ``worker.HOST.NAME`` as told by a worker.
    detail:
        Everything that it said: state, restarts, the job in hand and so on.
    heard_ns:
        When it was heard last: ns since 1970, UTC.
    """

    key: str
    state: str
    detail: dict[str, Any]
    heard_ns: int


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where the run of a proposal stands.

    Attributes
    ----------
    run:
        Its number; None before a proposal's first run.
    allowed:
        Commands that are possible now.
    sources, jobs:
        What it records, and the ids of the jobs that do.
    reason:
        Why it failed; empty otherwise.
    """

    proposal: str
    run: int | None
    state: State
    allowed: list[str]
    sources: list[str] = []
    jobs: list[str] = []
    reason: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance.

    Attributes
    ----------
    services:
        Services and workers that were heard of lately, by key.
    run:
        The run of the proposal asked about.
    n_jobs:
        How many jobs are in each state that is not an end.
    jobs:
        Jobs that are carried out or wait, newest first, a hundred at most; as `forebay.job.Job`.
    """

    services: list[ServiceStatus]
    run: RunStatus
    n_jobs: dict[str, int]
    jobs: list[Any]


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of news.

    Attributes
    ----------
    topic, key:
        What it is about; the key is that of the bus.
    id:
        Of the job, where it is about one.
    body:
        What was said; of a job: its state, n_done, n_asked, reason and result.
    time_ns:
        When it was said: ns since 1970, UTC.
    """

    topic: Topic
    key: str
    id: str
    body: dict[str, Any]
    time_ns: int
