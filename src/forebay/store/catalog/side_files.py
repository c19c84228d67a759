"""JSON files beside the data that say what the catalogue says, so that it can be made again from them.

Below the folder of a proposal: ``runs/proposal.json``, ``runs/run0001.json`` for each run, and
``runs/run0001/acq0001.json`` with the jobs and files of each acquisition. Each is replaced as a whole.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec
import sqlalchemy as sa

from forebay.job import Job
from forebay.store.catalog.jobs import get_jobs
from forebay.store.catalog.numbers import get_proposal, get_run
from forebay.store.catalog.rows import from_row
from forebay.store.catalog.tables import ACQUISITIONS, FILES, JOBS, RUNS
from forebay.store.catalog.values import Acquisition, File
from forebay.store.group import make_shared, share

LOG = logging.getLogger("forebay")

Place = tuple[str, int | None, int | None]
"""Proposal, run, acquisition; without the last two it is the proposal, without the last one the run."""

_MOST_JOBS = 100_000
_MOST_RETRIED = 100


class AcquisitionPage(msgspec.Struct, frozen=True, kw_only=True):
    """What the side file of an acquisition holds: jobs and files in the order in which they were booked."""

    acquisition: Acquisition
    jobs: list[Job]
    files: list[File]


def path_of(directory: Path, run: int | None = None, acquisition: int | None = None) -> Path:
    """Return where the side file of a proposal, a run or an acquisition lies."""
    folder = directory / "runs"
    if run is None:
        return folder / "proposal.json"
    if acquisition is None:
        return folder / f"run{run:04}.json"
    return folder / f"run{run:04}" / f"acq{acquisition:04}.json"


def number_in(path: Path) -> int | None:
    """Return the number in the name of a side file of a run or an acquisition; None if it is none."""
    found = re.fullmatch(r"(?:run|acq)(\d{4,})\.json", path.name)
    return int(found[1]) if found else None


def update(connection: sa.Connection, places: Iterable[Place]) -> None:
    """Write the side files of `places`, inside the transaction that changed them.

    One that cannot be written is marked and logged, and written with the next change of its proposal: data
    that cannot be described for a moment are no reason to refuse them.
    """
    wanted = list(dict.fromkeys(places))
    for proposal in {one[0] for one in wanted}:
        late = [place for place in _marked(connection, proposal) if place not in wanted]
        directory = Path(get_proposal(connection, proposal).directory)
        for place in [one for one in wanted if one[0] == proposal] + late:
            _write(connection, directory, place)


def _marked(connection: sa.Connection, proposal: str) -> list[Place]:
    """Return runs and acquisitions whose side files lag behind, oldest first, not too many at once."""
    runs = sa.select(RUNS.c.number).where(RUNS.c.proposal == proposal, RUNS.c.side_file_is_old)
    acquisitions = sa.select(ACQUISITIONS.c.run, ACQUISITIONS.c.number).where(
        ACQUISITIONS.c.proposal == proposal, ACQUISITIONS.c.side_file_is_old
    )
    runs = runs.order_by(RUNS.c.number).limit(_MOST_RETRIED)
    acquisitions = acquisitions.order_by(ACQUISITIONS.c.unique_number).limit(_MOST_RETRIED)
    found: list[Place] = [(proposal, row.number, None) for row in connection.execute(runs)]
    return found + [(proposal, row.run, row.number) for row in connection.execute(acquisitions)]


def _write(connection: sa.Connection, directory: Path, place: Place) -> None:
    proposal, run, acquisition = place
    path = path_of(directory, run, acquisition)
    try:
        _replace(path, _content(connection, place))
        if not (own := path_of(directory)).exists():
            _replace(own, get_proposal(connection, proposal))
        is_old = False
    except OSError as error:
        fields = {"path": path, "reason": error.strerror}
        LOG.warning("a side file of the catalogue cannot be written", extra={"fields": fields})
        is_old = True
    if run is None:
        return
    if acquisition is None:
        table, where = RUNS, sa.and_(RUNS.c.proposal == proposal, RUNS.c.number == run)
    else:
        table, where = ACQUISITIONS, _is_at(ACQUISITIONS, proposal, run, ACQUISITIONS.c.number == acquisition)
    mark = table.c.side_file_is_old
    connection.execute(sa.update(table).where(where, mark != is_old).values(side_file_is_old=is_old))


def _content(connection: sa.Connection, place: Place) -> msgspec.Struct:
    proposal, run, acquisition = place
    if run is None:
        return get_proposal(connection, proposal)
    if acquisition is None:
        return get_run(connection, proposal, run)
    mine = _is_at(JOBS, proposal, run, JOBS.c.acquisition == acquisition)
    jobs = get_jobs(connection, mine, limit=_MOST_JOBS)[::-1]
    mine = _is_at(FILES, proposal, run, FILES.c.acquisition == acquisition)
    rows = connection.execute(sa.select(FILES).where(mine).order_by(FILES.c.serial))
    files = [from_row(File, row) for row in rows]
    mine = _is_at(ACQUISITIONS, proposal, run, ACQUISITIONS.c.number == acquisition)
    row = connection.execute(sa.select(ACQUISITIONS).where(mine)).one()
    return AcquisitionPage(acquisition=from_row(Acquisition, row), jobs=jobs, files=files)


def _is_at(
    table: sa.Table, proposal: str, run: int, acquisition: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.proposal == proposal, table.c.run == run, acquisition)


def _replace(path: Path, content: msgspec.Struct) -> None:
    """Write a file that is there as a whole or not at all."""
    make_shared(path.parent)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        share(new)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise  # the name itself is not synced: after a crash of the host the file is the old or the new one
