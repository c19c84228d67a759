"""The catalogue: what was taken, by which job, under which numbers, and where it lies."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from forebay.errors import CatalogError, StateError
from forebay.job import Job, State
from forebay.store.catalog import jobs, numbers, side_files
from forebay.store.catalog.database import Database, is_retried, tries
from forebay.store.catalog.rebuild import Rebuilt, rebuild
from forebay.store.catalog.rows import from_row, insert_new, to_json, to_row
from forebay.store.catalog.side_files import Place
from forebay.store.catalog.tables import ACQUISITIONS, FILES, JOBS, PROPOSALS, RUNS
from forebay.store.catalog.values import Acquisition, File, Proposal, Run

T = TypeVar("T")


class Catalog:
    """Proposals, runs, acquisitions, jobs and files, of all processes that open the same database.

    Usable from several threads. What a method changed is durable when it returns.

    Raises
    ------
    CatalogError
        From every method: if the database cannot be reached or written, is busy for too long, or does not
        hold what was asked for.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def where(self) -> str:
        """What it is called: a path, or a URL without password."""
        return self._database.where

    def close(self) -> None:
        """Let go of all connections; may be called twice."""
        self._database.close()

    def _write(
        self,
        work: Callable[[sa.Connection], T],
        places: Callable[[sa.Connection, T], Iterable[Place]] = lambda _connection, _done: (),
    ) -> T:
        """Carry out `work` in one transaction, once more if others got in its way.

        `places` says of which side files it changed the content.
        """
        for is_last in tries():
            try:
                with self._database.write() as connection:
                    done = work(connection)
                    side_files.update(connection, places(connection, done))
                    return done
            except CatalogError as error:
                if is_last or not is_retried(error):
                    raise
        raise AssertionError("the last try returns or raises")

    def rebuild(self, directory: str | Path) -> Rebuilt:
        """Book what the side files below a proposal's folder say, for a catalogue that was lost.

        What is there already stays as it is, and numbers never go back. A side file that cannot be read is
        named in the answer; its number counts as used.

        Raises
        ------
        CatalogError
            If there is no proposal's folder.
        """
        return self._write(lambda connection: rebuild(connection, Path(directory).absolute()))

    # --- proposals

    def put_proposal(self, name: str, directory: str | Path) -> Proposal:
        """Book a proposal, or another folder for one that is known; its numbers go on."""
        path = str(Path(directory).absolute())

        def work(connection: sa.Connection) -> Proposal:
            known = sa.update(PROPOSALS).where(PROPOSALS.c.name == name).values(directory=path)
            if connection.execute(known).rowcount == 0:
                row = to_row(Proposal(name=name, directory=path, created_ns=time.time_ns()))
                connection.execute(insert_new(connection, PROPOSALS, row))
            return numbers.get_proposal(connection, name)

        return self._write(work, lambda _connection, _done: [(name, None, None)])

    def proposal(self, name: str) -> Proposal:
        """Return a proposal."""
        with self._database.read() as connection:
            return numbers.get_proposal(connection, name)

    def proposals(self) -> list[Proposal]:
        """Return every proposal, in the order of their names."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(PROPOSALS).order_by(PROPOSALS.c.name))
            return [from_row(Proposal, row) for row in rows]

    def close_proposal(self, name: str) -> Proposal:
        """Let nothing be added to a proposal any more; `StateError` if it is closed already."""

        def work(connection: sa.Connection) -> Proposal:
            if numbers.get_proposal(connection, name, lock=True).closed:
                raise StateError(f"Proposal {name} is closed already.")
            now = time.time_ns()
            connection.execute(sa.update(PROPOSALS).where(PROPOSALS.c.name == name).values(closed_ns=now))
            return numbers.get_proposal(connection, name)

        return self._write(work, lambda _connection, _done: [(name, None, None)])

    # --- runs and numbers

    def begin_run(
        self,
        proposal: str,
        tag: str = "",
        comment: str = "",
        *,
        state: str = "open",
        parameters: dict[str, Any] | None = None,
    ) -> Run:
        """Book the next run of a proposal; its number is never given out again.

        Raises
        ------
        StateError
            If the proposal is closed.
        """
        return self._write(
            lambda connection: numbers.begin_run(connection, proposal, tag, comment, state, parameters or {}),
            lambda _connection, run: [(proposal, run.number, None)],
        )

    def begin_acquisition(self, proposal: str, run: int | None = None) -> Acquisition:
        """Book the next acquisition of a run, or of a new run if `run` is None; numbers as in `begin_run`.

        Raises
        ------
        StateError
            If the proposal is closed.
        """

        def work(connection: sa.Connection) -> Acquisition:
            return numbers.next_acquisition(connection, proposal, run)

        return self._write(work, lambda _connection, one: _both(proposal, one.run, one.number))

    def run(self, proposal: str, number: int) -> Run:
        """Return a run."""
        with self._database.read() as connection:
            return numbers.get_run(connection, proposal, number)

    def runs(self, proposal: str, *, limit: int = 100, before: int | None = None) -> list[Run]:
        """Return runs, newest first; only those of numbers below `before` if it is given."""
        query = sa.select(RUNS).where(RUNS.c.proposal == proposal)
        if before is not None:
            query = query.where(RUNS.c.number < before)
        with self._database.read() as connection:
            numbers.get_proposal(connection, proposal)
            rows = connection.execute(query.order_by(RUNS.c.number.desc()).limit(limit))
            return [from_row(Run, row) for row in rows]

    def acquisitions(self, proposal: str, *, run: int | None = None, limit: int = 100) -> list[Acquisition]:
        """Return acquisitions, newest first: of a proposal, or of one of its runs."""
        query = sa.select(ACQUISITIONS).where(ACQUISITIONS.c.proposal == proposal)
        if run is not None:
            query = query.where(ACQUISITIONS.c.run == run)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(ACQUISITIONS.c.unique_number.desc()).limit(limit))
            return [from_row(Acquisition, row) for row in rows]

    def advance_run(
        self, proposal: str, number: int, state: str, *, from_states: Collection[str], ends: bool = False
    ) -> bool:
        """Change a run's state if it is one of `from_states`; whether it was. With `ends` it is over now."""
        values: dict[str, Any] = {"state": state}
        if ends:
            values["ended_ns"] = time.time_ns()

        def work(connection: sa.Connection) -> bool:
            update = sa.update(RUNS).where(
                RUNS.c.proposal == proposal, RUNS.c.number == number, RUNS.c.state.in_(from_states)
            )
            return connection.execute(update.values(values)).rowcount == 1

        return self._write(work, lambda _connection, done: [(proposal, number, None)] if done else ())

    def describe_run(
        self,
        proposal: str,
        number: int,
        *,
        tag: str | None = None,
        comment: str | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Run:
        """Write another tag, comment or parameters to a run, and return it."""
        values = {name: text for name, text in (("tag", tag), ("comment", comment)) if text is not None}
        if parameters is not None:
            values["parameters"] = to_json(parameters)

        def work(connection: sa.Connection) -> Run:
            numbers.get_run(connection, proposal, number)
            if values:
                which = (RUNS.c.proposal == proposal, RUNS.c.number == number)
                connection.execute(sa.update(RUNS).where(*which).values(values))
            return numbers.get_run(connection, proposal, number)

        return self._write(work, lambda _connection, _done: [(proposal, number, None)])

    # --- jobs

    def add_job(self, job: Job) -> bool:
        """Book a job; False, and nothing is done, if its id is known already."""
        return self._write(
            lambda connection: jobs.add_job(connection, job),
            lambda connection, done: jobs.places_of(connection, job.id) if done else (),
        )

    def add_request(self, asked: Sequence[Job], *, draws: bool) -> list[Job]:
        """Book the jobs of one request together, and return those that are new.

        They belong to one acquisition: that of those whose ids are known already; else, if the request
        `draws` one, the next of their run, or of a new run if they have none.

        Raises
        ------
        StateError
            If a number is to be drawn and the proposal is closed.
        """
        return self._write(
            lambda connection: jobs.add_request(connection, asked, draws=draws),
            lambda _connection, added: {
                place
                for job in added
                if job.proposal is not None and job.acquisition is not None
                for place in _both(job.proposal, job.run, job.acquisition)
            },
        )

    def advance(
        self,
        job_id: str,
        state: State,
        *,
        from_states: Collection[State],
        from_worker: str | None = None,
        who: str = "",
        reason: str = "",
        result: dict[str, Any] | None = None,
        progress: tuple[int, int | None] | None = None,
        worker: str | None = None,
    ) -> bool:
        """Change a job's state if it stands as expected; of several who try, one gets True.

        Parameters
        ----------
        from_states:
            States in which it may be; each must allow `state` by `forebay.job.NEXT`.
        from_worker:
            If given, it must be this worker's.
        who, reason:
            For its history; `reason` becomes the job's as well.
        result:
            What came of it, if there is something to say.
        progress:
            (`n_done`, `n_asked`), if it has changed.
        worker:
            Who carries it out from now on. A job that is queued again has no worker.

        Raises
        ------
        StateError
            If one of `from_states` does not allow `state`.
        """
        return self._write(
            lambda connection: jobs.advance(
                connection,
                job_id,
                state,
                from_states=from_states,
                from_worker=from_worker,
                who=who,
                reason=reason,
                result=result,
                progress=progress,
                worker=worker,
            ),
            lambda connection, done: jobs.places_of(connection, job_id) if done else (),
        )

    def heartbeat(
        self, job_id: str, worker: str, n_done: int | None = None, n_asked: int | None = None
    ) -> State | None:
        """Note that `worker` lives and how far it is; return the job's state, None if it is not his any more.

        *cancelling* asks him to come to an end.
        """
        return self._write(lambda connection: jobs.heartbeat(connection, job_id, worker, n_done, n_asked))

    def job(self, job_id: str) -> Job:
        """Return a job as it stands."""
        with self._database.read() as connection:
            return jobs.get_job(connection, job_id)

    def jobs(
        self,
        *,
        states: Collection[State] = (),
        proposal: str | None = None,
        run: int | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Job]:
        """Return jobs, newest first: of all states if none is named, older than the job `before` if given."""
        where: list[sa.ColumnElement[bool]] = []
        if states:
            where.append(JOBS.c.state.in_(states))
        if proposal is not None:
            where.append(JOBS.c.proposal == proposal)
        if run is not None:
            where.append(JOBS.c.run == run)
        if before is not None:
            where.append(
                JOBS.c.serial < sa.select(JOBS.c.serial).where(JOBS.c.id == before).scalar_subquery()
            )
        with self._database.read() as connection:
            return jobs.get_jobs(connection, *where, limit=limit)

    def n_jobs(self) -> dict[str, int]:
        """Return how many jobs are in each state; states without jobs are left out."""
        query = sa.select(JOBS.c.state, sa.func.count()).group_by(JOBS.c.state)
        with self._database.read() as connection:
            return {row.state: row[1] for row in connection.execute(query)}

    # --- files

    def add_file(self, file: File) -> None:
        """Book a file; one of the same path is replaced, so that a job may book its file twice."""
        row = to_row(file) | {"created_ns": file.created_ns or time.time_ns()}

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.delete(FILES).where(FILES.c.path == file.path))
            connection.execute(sa.insert(FILES).values(row))

        self._write(work, lambda connection, _done: _places_of_file(connection, file.path))

    def file_checked(self, path: str | Path, found: str, *, sha256: str | None = None) -> bool:
        """Note what a check found just now (``ok``, ``loss``, ``problem``); whether the file is booked."""
        values: dict[str, Any] = {"checked": found, "checked_ns": time.time_ns()}
        if sha256 is not None:
            values["sha256"] = sha256
        update = sa.update(FILES).where(FILES.c.path == str(path)).values(values)
        return self._write(
            lambda connection: connection.execute(update).rowcount == 1,
            lambda connection, _done: _places_of_file(connection, str(path)),
        )

    def files(
        self,
        proposal: str | None = None,
        *,
        run: int | None = None,
        job_id: str | None = None,
        limit: int = 100,
    ) -> list[File]:
        """Return files, newest first: all, or those of a proposal, a run, a job."""
        query = sa.select(FILES)
        for column, value in ((FILES.c.proposal, proposal), (FILES.c.run, run), (FILES.c.job, job_id)):
            if value is not None:
                query = query.where(column == value)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(FILES.c.serial.desc()).limit(limit))
            return [from_row(File, row) for row in rows]


def _places_of_file(connection: sa.Connection, path: str) -> list[Place]:
    """Return the acquisition to which a file belongs, if it does to any."""
    where = (FILES.c.path == path, FILES.c.acquisition.is_not(None))
    row = connection.execute(sa.select(FILES.c.proposal, FILES.c.run, FILES.c.acquisition).where(*where))
    return [(one.proposal, one.run, one.acquisition) for one in row]


def _both(proposal: str, run: int | None, acquisition: int | None) -> list[Place]:
    """Return the places of a run and of one of its acquisitions."""
    return [(proposal, run, None), (proposal, run, acquisition)]
