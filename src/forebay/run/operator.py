"""The operator: the one control interface, to which command line, REST, clients and fronts translate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from forebay.config import Config
from forebay.job import Job, State
from forebay.ports import Bus
from forebay.run.ending import GOING_ON, cancel, finish
from forebay.run.intake import DEFAULT_PROPOSAL as DEFAULT_PROPOSAL
from forebay.run.intake import Intake
from forebay.run.proposals import check_proposal
from forebay.run.runs import Runs
from forebay.run.values import Plan, RunStatus, Status
from forebay.run.watch import Roll, Watch

if TYPE_CHECKING:
    from forebay.store.catalog import Catalog, File, Proposal, Run

_LOOK_S = 1.0
"""How often a waiter looks into the catalogue, in case a status was lost on its way."""


class Operator:
    """Everything that can be asked of forebay, whoever asks.

    All methods may be called from several threads. Values in are checked before anything is done and before
    any number is used up; values out are frozen.

    Parameters
    ----------
    who:
        Who asks, for the histories of jobs.
    intake, roll:
        Those of another operator, see `named`; its own if not given.

    Raises
    ------
    ForebayError
        From every method: `ConfigError` where the request cannot be carried out as it stands, `StateError`
        where it is not allowed now, `NoWorkerError` and `NoAnswerError` where nobody carries it out,
        `UnknownError` where there is no such thing, `BusError` and `CatalogError` where bus or catalogue
        cannot be reached.
    """

    def __init__(
        self,
        config: Config,
        bus: Bus,
        catalog: Catalog,
        *,
        who: str = "operator",
        intake: Intake | None = None,
        roll: Roll | None = None,
    ) -> None:
        self._config = config
        self._bus = bus
        self._catalog = catalog
        self._who = who
        self._intake = intake or Intake(config, bus, catalog, who)
        self._runs = Runs(bus, catalog, self._intake, who)
        self._roll = roll or Roll(bus)

    def named(self, who: str) -> Operator:
        """Return this operator for what `who` asks; it lives as long as this one and is not closed."""
        intake = self._intake.named(who)
        return Operator(self._config, self._bus, self._catalog, who=who, intake=intake, roll=self._roll)

    def reach(self, timeout: float = 2.0) -> None:
        """Return if catalogue and bus answer; `CatalogError` or `BusError` if not."""
        self._catalog.n_jobs()
        self._bus.reach(timeout)

    # --- requests

    def request(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002 - the field of `Job`
        proposal: str = DEFAULT_PROPOSAL,
        run: int | None = None,
        deadline_s: float | None = None,
    ) -> list[Job]:
        """Accept a request and return its jobs: one for each source, in their order.

        It is durable when this returns. A request whose `id` is known already is not accepted again; its
        jobs are returned as they stand.

        Parameters
        ----------
        kind, parameters:
            See `forebay.run.jobs.KINDS`.
        id:
            Names the request: 1 to 64 letters, digits, ``.``, ``_``, ``-``. Drawn if not given. With several
            sources the jobs are ``ID.SOURCE``, with one ``ID``.
        run:
            Run to which the acquisition belongs; a new one if not given.
        deadline_s:
            The jobs end within so many seconds from now, or fail.
        """
        return self._intake.accept(kind, parameters, id, proposal, run, deadline_s)

    def plan(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        *,
        proposal: str = DEFAULT_PROPOSAL,
        run: int | None = None,
    ) -> list[Plan]:
        """Check a request as `request` does, and only say what it would write, where, and how large."""
        return self._intake.plan(kind, parameters, proposal, run)

    def cancel(self, job_id: str) -> Job:
        """End a job as *cancelled*: one that waits at once, one that runs as soon as its file is closed.

        What was recorded until then is kept, whole, under the name that it was to have. `StateError` if the
        job has ended already.
        """
        return cancel(self._bus, self._catalog, job_id, self._who)

    def finish(self, job_id: str) -> Job:
        """End a recording now as *finished*: what was asked for is what came until now."""
        return finish(self._bus, self._catalog, job_id, self._who)

    def job(self, job_id: str) -> Job:
        """Return a job as it stands; `UnknownError` if there is none of that id."""
        return self._catalog.job(job_id)

    def jobs(
        self,
        *,
        states: Sequence[State] = (),
        proposal: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, newest first; all states if none is named."""
        return self._catalog.jobs(states=states, proposal=proposal, limit=limit)

    def wait(self, job_id: str, timeout: float) -> Job:
        """Return the job as soon as it has ended, or as it stands after `timeout` seconds."""
        end = time.monotonic() + timeout
        with self.watch(job_id) as news:
            while not (job := self._catalog.job(job_id)).has_ended:
                left = end - time.monotonic()
                if left <= 0:
                    break
                news.read(min(left, _LOOK_S))
        return job

    # --- runs

    def prepare(
        self,
        sources: Sequence[str],
        *,
        proposal: str = DEFAULT_PROPOSAL,
        tag: str = "",
        comment: str = "",
        timeout: float = 10.0,
    ) -> RunStatus:
        """Draw a run number and make everything ready; returns when every service concerned has confirmed.

        Raises
        ------
        StateError
            If the proposal has a run that has not ended; the commands allowed are named.
        ServiceError
            If a service does not confirm within `timeout` seconds; it is named.
        """
        return self._runs.prepare(proposal, list(sources), tag, comment, timeout)

    def start(self, *, proposal: str = DEFAULT_PROPOSAL, timeout: float = 10.0) -> RunStatus:
        """Record the sources of the prepared run until `stop`; returns when each one is being recorded."""
        return self._runs.start(proposal, timeout)

    def stop(self, *, proposal: str = DEFAULT_PROPOSAL, timeout: float = 60.0) -> RunStatus:
        """End the run; returns when every file is whole."""
        return self._runs.stop(proposal, timeout)

    def abort(self, *, proposal: str = DEFAULT_PROPOSAL, timeout: float = 60.0) -> RunStatus:
        """End now whatever goes on, in whatever state; what is whole is kept, its jobs are *cancelled*."""
        return self._runs.abort(proposal, timeout)

    def run_status(self, proposal: str = DEFAULT_PROPOSAL) -> RunStatus:
        """Return where the proposal's newest run stands."""
        return self._runs.status(proposal)

    def runs(
        self, proposal: str = DEFAULT_PROPOSAL, *, limit: int = 100, before: int | None = None
    ) -> list[Run]:
        """Return runs, newest first; only those of numbers below `before` if it is given."""
        return self._catalog.runs(proposal, limit=limit, before=before)

    # --- what there is

    def files(
        self,
        proposal: str | None = None,
        *,
        run: int | None = None,
        job_id: str | None = None,
        limit: int = 100,
    ) -> list[File]:
        """Return the files that are booked, newest first."""
        return self._catalog.files(proposal=proposal, run=run, job_id=job_id, limit=limit)

    def proposals(self) -> list[Proposal]:
        """Return every proposal, in the order of their names."""
        return self._catalog.proposals()

    def put_proposal(self, name: str, directory: str | Path) -> Proposal:
        """Book a proposal, or give one that is known another folder; its numbers go on.

        Parameters
        ----------
        directory:
            Full path of a folder that is there, seen from here and from the workers.
        """
        return self._catalog.put_proposal(name, check_proposal(name, directory))

    def close_proposal(self, name: str) -> Proposal:
        """Let nothing be added to a proposal any more; `StateError` if it is closed already."""
        return self._catalog.close_proposal(name)

    def routines(self) -> dict[str, str]:
        """Return the names of the routines that the configuration registers, and what each does."""
        return {name: routine.description for name, routine in self._config.routines.items()}

    def status(self, proposal: str = DEFAULT_PROPOSAL) -> Status:
        """Return services, the run of a proposal and the jobs that wait or run.

        Services are those heard of since this operator was made: all of them after two seconds.
        """
        return Status(
            services=self._roll.services(),
            run=self._runs.status(proposal),
            n_jobs=self._catalog.n_jobs(),
            jobs=self._catalog.jobs(states=GOING_ON),
        )

    def watch(self, job_id: str | None = None) -> Watch:
        """Listen for news from now on: of one job, or of everything."""
        return Watch(self._bus, job_id, self.job)

    def close(self) -> None:
        """Stop listening. Bus and catalogue belong to the caller. May be called twice."""
        self._roll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
