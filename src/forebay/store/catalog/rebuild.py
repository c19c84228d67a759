"""Making the catalogue of a proposal again from the JSON files beside its data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from forebay.errors import CatalogError
from forebay.store.catalog.jobs import add_job
from forebay.store.catalog.numbers import get_proposal
from forebay.store.catalog.rows import insert_new, to_row
from forebay.store.catalog.side_files import AcquisitionPage, number_in, path_of
from forebay.store.catalog.tables import ACQUISITIONS, FILES, PROPOSALS, RUNS
from forebay.store.catalog.values import Proposal, Run

T = TypeVar("T", bound=msgspec.Struct)

LOST = "lost"
"""State of a run whose side file cannot be read."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in side files; `problems` names those that cannot be read."""

    proposal: str
    n_runs: int
    n_acquisitions: int
    n_jobs: int
    n_files: int
    problems: list[str] = []


def rebuild(connection: sa.Connection, directory: Path) -> Rebuilt:
    """Book what the side files below `directory` say; see `forebay.store.catalog.Catalog.rebuild`."""
    problems: list[str] = []
    proposal = _read(path_of(directory), Proposal, problems)
    if proposal is None:
        raise CatalogError(
            f"{directory} is not the folder of a proposal: {path_of(directory)} cannot be read.",
            "Name the folder in which the directory runs lies.",
        )
    proposal = msgspec.structs.replace(proposal, directory=str(directory))
    runs: dict[int, Run] = {}
    for i_run, path in _numbered(path_of(directory, 1).parent):
        runs[i_run] = _read(path, Run, problems) or Run(proposal=proposal.name, number=i_run, state=LOST)
    pages: list[AcquisitionPage] = []
    last: dict[int, int] = {}
    for folder in sorted(path_of(directory, 1).parent.glob("run[0-9]*/")):
        if (found := number_in(Path(f"{folder.name}.json"))) is None:
            continue
        for i_acquisition, path in _numbered(folder):
            last[found] = max(last.get(found, 0), i_acquisition)
            runs.setdefault(found, Run(proposal=proposal.name, number=found, state=LOST))
            if (page := _read(path, AcquisitionPage, problems)) is not None:
                pages.append(page)
    _insert(connection, proposal, list(runs.values()), pages, last)
    return Rebuilt(
        proposal=proposal.name,
        n_runs=len(runs),
        n_acquisitions=len(pages),
        n_jobs=sum(len(page.jobs) for page in pages),
        n_files=sum(len(page.files) for page in pages),
        problems=problems,
    )


def _insert(
    connection: sa.Connection,
    proposal: Proposal,
    runs: list[Run],
    pages: list[AcquisitionPage],
    last: dict[int, int],
) -> None:
    """Add what is not there yet; what is there already stays as it is, and counters never go back."""
    connection.execute(insert_new(connection, PROPOSALS, to_row(proposal)))
    known = get_proposal(connection, proposal.name, lock=True)
    unique = [page.acquisition.unique_number for page in pages]
    counters = {
        "last_run": max([known.last_run, proposal.last_run, *(run.number for run in runs)]),
        "last_acquisition": max(
            [known.last_acquisition, proposal.last_acquisition, sum(last.values()), *unique]
        ),
    }
    connection.execute(sa.update(PROPOSALS).where(PROPOSALS.c.name == proposal.name).values(counters))
    for run in runs:
        found = max(run.last_acquisition, last.get(run.number, 0))
        row = to_row(msgspec.structs.replace(run, proposal=proposal.name, last_acquisition=found))
        connection.execute(insert_new(connection, RUNS, row))
        which = (
            RUNS.c.proposal == proposal.name,
            RUNS.c.number == run.number,
            RUNS.c.last_acquisition < found,
        )
        connection.execute(sa.update(RUNS).where(*which).values(last_acquisition=found))
    for page in pages:
        connection.execute(insert_new(connection, ACQUISITIONS, to_row(page.acquisition)))
    for job in sorted((job for page in pages for job in page.jobs), key=lambda job: job.created_ns):
        add_job(connection, job)
    for file in sorted((file for page in pages for file in page.files), key=lambda file: file.created_ns):
        connection.execute(insert_new(connection, FILES, to_row(file)))


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(folder.glob("*.json")):
        if (number := number_in(path)) is not None:
            yield number, path


def _read(path: Path, kind: type[T], problems: list[str]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"{path}: {error}")
        return None
