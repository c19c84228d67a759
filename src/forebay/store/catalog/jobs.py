"""Jobs in the catalogue: every change of state is a compare-and-set, so that each job ends exactly once."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from forebay.errors import StateError, UnknownError
from forebay.job import NEXT, Change, Job, State
from forebay.store.catalog.numbers import get_proposal, next_acquisition
from forebay.store.catalog.rows import insert_new, to_json, to_row, with_history
from forebay.store.catalog.tables import CHANGES, JOBS


def add_job(connection: sa.Connection, job: Job) -> bool:
    """Book a job unless its id is known; see `forebay.store.catalog.Catalog.add_job`."""
    row = to_row(job)
    history = row.pop("history") or (Change(job.state, job.created_ns, job.owner),)
    added = connection.execute(insert_new(connection, JOBS, row).returning(JOBS.c.id))
    if added.one_or_none() is None:
        return False
    connection.execute(sa.insert(CHANGES), [{"job": job.id, **to_row(one)} for one in history])
    return True


def add_request(connection: sa.Connection, asked: Sequence[Job], *, draws: bool) -> list[Job]:
    """Book the jobs of one request; see `forebay.store.catalog.Catalog.add_request`."""
    proposal, run, acquisition = asked[0].proposal, asked[0].run, None
    if draws:
        assert proposal is not None
        get_proposal(connection, proposal, lock=True)
    ids = [job.id for job in asked]
    if known := get_jobs(connection, JOBS.c.id.in_(ids), limit=len(ids)):
        run, acquisition = known[0].run, known[0].acquisition
    elif draws:
        assert proposal is not None
        drawn = next_acquisition(connection, proposal, run)
        run, acquisition = drawn.run, drawn.number
    booked = [msgspec.structs.replace(job, run=run, acquisition=acquisition) for job in asked]
    return [job for job in booked if add_job(connection, job)]


def get_jobs(connection: sa.Connection, *where: sa.ColumnElement[bool], limit: int = 1) -> list[Job]:
    """Return jobs, newest first, each with its history."""
    rows = connection.execute(sa.select(JOBS).where(*where).order_by(JOBS.c.serial.desc()).limit(limit)).all()
    ids = [row.id for row in rows]
    changes: list[sa.Row[Any]] = []
    for i in range(0, len(ids), 1000):  # databases limit the parameters of a statement
        query = sa.select(CHANGES).where(CHANGES.c.job.in_(ids[i : i + 1000])).order_by(CHANGES.c.serial)
        changes += connection.execute(query).all()
    return with_history(rows, changes)


def get_job(connection: sa.Connection, job_id: str) -> Job:
    """Return a job; `UnknownError` if there is none of that id."""
    if not (found := get_jobs(connection, JOBS.c.id == job_id)):
        raise UnknownError(f"There is no job {job_id!r}.", "See which there are: forebay jobs")
    return found[0]


def advance(
    connection: sa.Connection,
    job_id: str,
    state: State,
    *,
    from_states: Collection[State],
    from_worker: str | None,
    who: str,
    reason: str,
    result: dict[str, Any] | None,
    progress: tuple[int, int | None] | None,
    worker: str | None,
) -> bool:
    """Change a job's state if it stands as expected; see `forebay.store.catalog.Catalog.advance`."""
    if wrong := [one for one in from_states if state not in NEXT[one]]:
        raise StateError(f"A job that is {wrong[0]} cannot become {state}.", f"What can: {NEXT[wrong[0]]}.")
    now = time.time_ns()
    values: dict[str, Any] = {"state": state, "reason": reason}
    if state == "queued":
        values |= {"worker": "", "heartbeat_ns": 0}
    if worker is not None:
        values |= {"worker": worker, "heartbeat_ns": now}
    if result is not None:
        values["result"] = to_json(result)
    if progress is not None:
        values |= {"n_done": progress[0], "n_asked": progress[1]}
    update = sa.update(JOBS).where(JOBS.c.id == job_id, JOBS.c.state.in_(from_states)).values(values)
    if from_worker is not None:
        update = update.where(JOBS.c.worker == from_worker)
    if connection.execute(update).rowcount != 1:
        return False
    change = {"job": job_id, "state": state, "time_ns": now, "who": who, "reason": reason}
    connection.execute(sa.insert(CHANGES).values(change))
    return True


def heartbeat(
    connection: sa.Connection, job_id: str, worker: str, n_done: int | None, n_asked: int | None
) -> State | None:
    """Note that a worker lives; see `forebay.store.catalog.Catalog.heartbeat`."""
    values: dict[str, Any] = {"heartbeat_ns": time.time_ns()}
    if n_done is not None:
        values["n_done"] = n_done
    if n_asked is not None:
        values["n_asked"] = n_asked
    update = (
        sa.update(JOBS)
        .where(JOBS.c.id == job_id, JOBS.c.worker == worker, JOBS.c.state.in_(("running", "cancelling")))
        .values(values)
    )
    state: State | None = connection.execute(update.returning(JOBS.c.state)).scalar_one_or_none()
    return state


def places_of(connection: sa.Connection, job_id: str) -> list[tuple[str, int | None, int | None]]:
    """Return the acquisition to which a job belongs, if it does to any."""
    where = (JOBS.c.id == job_id, JOBS.c.acquisition.is_not(None))
    rows = connection.execute(sa.select(JOBS.c.proposal, JOBS.c.run, JOBS.c.acquisition).where(*where))
    return [(one.proposal, one.run, one.acquisition) for one in rows]
