"""Run and acquisition numbers: each is given out once, in the transaction that books it."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from forebay.errors import StateError, UnknownError
from forebay.store.catalog.rows import from_row, to_row
from forebay.store.catalog.tables import ACQUISITIONS, PROPOSALS, RUNS
from forebay.store.catalog.values import Acquisition, Proposal, Run


def get_proposal(connection: sa.Connection, name: str, *, lock: bool = False) -> Proposal:
    """Return a proposal; with `lock` nobody else gives out its numbers until the transaction ends.

    Raises
    ------
    UnknownError
        If there is none of that name.
    """
    query = sa.select(PROPOSALS).where(PROPOSALS.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise UnknownError(f"There is no proposal {name!r}.", "See which there are: forebay proposal list")
    return from_row(Proposal, row)


def get_run(connection: sa.Connection, proposal: str, number: int) -> Run:
    """Return a run; `UnknownError` if there is none of that number."""
    query = sa.select(RUNS).where(RUNS.c.proposal == proposal, RUNS.c.number == number)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownError(
            f"Proposal {proposal} has no run {number}.",
            f"See which it has: forebay runs --proposal {proposal}",
        )
    return from_row(Run, row)


def begin_run(
    connection: sa.Connection, proposal: str, tag: str, comment: str, state: str, parameters: dict[str, Any]
) -> Run:
    """Book the next run; see `forebay.store.catalog.Catalog.begin_run`."""
    owner = _writable(connection, proposal)
    run = Run(
        proposal=proposal,
        number=owner.last_run + 1,
        state=state,
        tag=tag,
        comment=comment,
        parameters=parameters,
        started_ns=time.time_ns(),
    )
    connection.execute(sa.update(PROPOSALS).where(PROPOSALS.c.name == proposal).values(last_run=run.number))
    connection.execute(sa.insert(RUNS).values(to_row(run)))
    return run


def begin_acquisition(connection: sa.Connection, proposal: str, number: int) -> Acquisition:
    """Book the next acquisition of a run; see `forebay.store.catalog.Catalog.begin_acquisition`."""
    owner = _writable(connection, proposal)
    run = get_run(connection, proposal, number)
    acquisition = Acquisition(
        proposal=proposal,
        run=number,
        number=run.last_acquisition + 1,
        unique_number=owner.last_acquisition + 1,
        created_ns=time.time_ns(),
    )
    connection.execute(
        sa.update(PROPOSALS)
        .where(PROPOSALS.c.name == proposal)
        .values(last_acquisition=acquisition.unique_number)
    )
    connection.execute(
        sa.update(RUNS)
        .where(RUNS.c.proposal == proposal, RUNS.c.number == number)
        .values(last_acquisition=acquisition.number)
    )
    connection.execute(sa.insert(ACQUISITIONS).values(to_row(acquisition)))
    return acquisition


def next_acquisition(connection: sa.Connection, proposal: str, run: int | None) -> Acquisition:
    """Book the next acquisition of a run; of a new run if `run` is None."""
    if run is None:
        run = begin_run(connection, proposal, "", "", "open", {}).number
    return begin_acquisition(connection, proposal, run)


def _writable(connection: sa.Connection, proposal: str) -> Proposal:
    """Return a proposal whose numbers are ours until the transaction ends; `StateError` if it is closed."""
    owner = get_proposal(connection, proposal, lock=True)
    if owner.closed:
        raise StateError(
            f"Proposal {proposal} is closed for writing.",
            "Its data can be read, but nothing is added to them.",
        )
    return owner
