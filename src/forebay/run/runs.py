"""Runs from prepare to stop: a transition is told as done when every service concerned has confirmed it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from forebay.errors import ConfigError, ForebayError, ServiceError, StateError, UnknownError
from forebay.job import Job
from forebay.ports import Bus, Message
from forebay.run import states
from forebay.run.ending import cancel, finish, publish
from forebay.run.intake import DEFAULT_PROPOSAL, Intake
from forebay.run.states import Command, Outcome, State
from forebay.run.values import RunStatus
from forebay.run.watch import Watch

if TYPE_CHECKING:
    from forebay.store.catalog import Catalog, Run

_LOOK_S = 0.5
"""How often we look into the catalogue, and tell again who has to end, while services confirm."""


class Runs:
    """Commands to the run of a proposal; its state is in the catalogue, so that any operator can go on.

    The services concerned are, for each source, the worker that records it. It confirms *prepare* by
    answering what it would write, *start* by the state *running* of its job, *stop* and *abort* by the end
    of that job, when its file is whole.
    """

    def __init__(self, bus: Bus, catalog: Catalog, intake: Intake, who: str) -> None:
        self._bus = bus
        self._catalog = catalog
        self._intake = intake
        self._who = who

    def status(self, proposal: str) -> RunStatus:
        """Return where the newest run that was prepared stands."""
        run = self._newest(proposal)
        return _status(proposal, run, self._jobs(run) if run else [])

    def prepare(
        self, proposal: str, sources: Sequence[str], tag: str, comment: str, timeout: float
    ) -> RunStatus:
        """See `forebay.run.operator.Operator.prepare`."""
        self._intake.proposal(proposal)
        before = self._newest(proposal)
        state = states.next(_state(before), "prepare")
        asked = {"sources": list(sources)}
        end = time.monotonic() + timeout
        for source in sources:  # everything is asked before a number is used up
            self._confirmed_plan(proposal, source, end)
        if not sources:
            raise ConfigError("No source was named.", "Name the detectors or streams that the run records.")
        run = self._catalog.begin_run(proposal, tag=tag, comment=comment, parameters=asked, state=state)
        first = self._newest(proposal)
        if first is not None and first.number != run.number:  # somebody else prepared at the same moment
            self._catalog.advance_run(proposal, run.number, "idle", from_states=[state], ends=True)
            states.next(_state(first), "prepare")
        return self._arrive(run, "confirmed")

    def _confirmed_plan(self, proposal: str, source: str, end: float) -> None:
        if time.monotonic() > end:
            raise ServiceError(f"record.{source} did not confirm in time.", "See forebay status.")
        self._intake.plan("record", {"sources": [source]}, proposal, None)

    def start(self, proposal: str, timeout: float) -> RunStatus:
        """See `forebay.run.operator.Operator.start`."""
        run = self._leave(proposal, "start")
        asked = {"sources": run.parameters["sources"], "idle_s": 30 * 86_400.0}
        with Watch(self._bus) as news:
            try:
                jobs = self._intake.accept("record", asked, str(uuid.uuid4()), proposal, run.number, None)
            except ForebayError as error:
                self._arrive(run, "refused", f"Not started: {error}")
                raise
            missing = self._wait(news, jobs, lambda job: job.state != "queued", timeout)
        return self._settle(run, missing, "was not recording", timeout)

    def stop(self, proposal: str, timeout: float) -> RunStatus:
        """See `forebay.run.operator.Operator.stop`."""
        return self._end(proposal, "stop", timeout)

    def abort(self, proposal: str, timeout: float) -> RunStatus:
        """See `forebay.run.operator.Operator.abort`."""
        return self._end(proposal, "abort", timeout)

    def _end(self, proposal: str, command: Command, timeout: float) -> RunStatus:
        run = self._leave(proposal, command)
        with Watch(self._bus) as news:
            jobs = self._jobs(run)
            missing = self._wait(news, jobs, lambda job: job.has_ended, timeout, command)
        return self._settle(run, missing, "had not ended", timeout)

    def _leave(self, proposal: str, command: Command) -> Run:
        """Begin a transition, if nobody else has begun one; say so on the bus."""
        run = self._newest(proposal)
        state = states.next(_state(run), command)
        assert run is not None  # no command but prepare is allowed without a run
        if not self._catalog.advance_run(proposal, run.number, state, from_states=(run.state,)):
            states.next(_state(self._newest(proposal)), command)
            raise StateError(f"Run {run.number} was just changed by somebody else.", "Look, and ask again.")
        run = self._catalog.run(proposal, run.number)
        self._tell(run, "")
        return run

    def _arrive(self, run: Run, outcome: Outcome, reason: str = "") -> RunStatus:
        """End a transition, and say so on the bus."""
        state = states.next(_state(run), outcome)
        self._catalog.advance_run(
            run.proposal, run.number, state, from_states=(run.state,), ends=state == "idle"
        )
        run = self._catalog.run(run.proposal, run.number)
        self._tell(run, reason)
        return _status(run.proposal, run, self._jobs(run), reason)

    def _settle(self, run: Run, missing: list[Job], what: str, timeout: float) -> RunStatus:
        """Confirm or refuse a transition, by the jobs that did not come along."""
        if not missing:
            return self._arrive(run, "confirmed")
        names = ", ".join(f"record.{job.parameters['sources'][0]}" for job in missing)
        reasons = " ".join(job.reason for job in missing if job.reason)
        said = f"{names} {what} within {timeout:g} s. {reasons}".strip()
        self._arrive(run, "refused", said)
        raise ServiceError(f"Run {run.number} of {run.proposal}: {said}", "See forebay status; then abort.")

    def _wait(
        self,
        news: Watch,
        jobs: list[Job],
        is_there: Callable[[Job], bool],
        timeout: float,
        command: Command = "start",
    ) -> list[Job]:
        """Wait until all jobs are where they should be; return those that are not."""
        end = time.monotonic() + timeout
        told = 0.0
        while True:
            jobs = [self._catalog.job(job.id) for job in jobs]
            failed = [job for job in jobs if command == "start" and job.has_ended]
            missing = [job for job in jobs if not is_there(job)]
            if failed or not missing or time.monotonic() > end:
                return failed or missing
            if command != "start" and time.monotonic() > told + _LOOK_S:
                for job in missing:  # again and again: the bus may lose a kill, and a stop may not be lost
                    self._ask_to_end(job, command)
                told = time.monotonic()
            news.read(_LOOK_S / 2)

    def _ask_to_end(self, job: Job, command: Command) -> None:
        try:
            if command == "abort" or job.state == "queued":
                cancel(self._bus, self._catalog, job.id, self._who)
            else:
                finish(self._bus, self._catalog, job.id, self._who)
        except StateError:
            return  # it ended, or began, meanwhile: we look again

    def _newest(self, proposal: str) -> Run | None:
        """Return the run that goes on, else the newest that was prepared, not merely numbered for a request.

        Should several go on, then the oldest of them.
        """
        try:
            runs = self._catalog.runs(proposal, limit=1000)
        except UnknownError:
            if proposal != DEFAULT_PROPOSAL:
                raise
            return None  # it is made when it is first asked for
        prepared = [run for run in runs if run.state in states.STATES]
        going = [run for run in prepared if run.state != "idle"]
        return going[-1] if going else next(iter(prepared), None)

    def _jobs(self, run: Run) -> list[Job]:
        found = self._catalog.jobs(proposal=run.proposal, run=run.number, limit=1000)
        return [job for job in found if job.kind == "record"]

    def _tell(self, run: Run, reason: str) -> None:
        body = {"proposal": run.proposal, "run": run.number, "state": run.state, "reason": reason}
        key = f"run.{run.proposal}"
        publish(self._bus, Message(key, f"{run.proposal}.{run.number}", body, time_ns=time.time_ns()))


def _state(run: Run | None) -> State:
    return "idle" if run is None else next(state for state in states.STATES if state == run.state)


def _status(proposal: str, run: Run | None, jobs: list[Job], reason: str = "") -> RunStatus:
    state = _state(run)
    return RunStatus(
        proposal=proposal,
        run=None if run is None else run.number,
        state=state,
        allowed=list(states.allowed(state)),
        sources=[] if run is None else list(run.parameters.get("sources", [])),
        jobs=[job.id for job in jobs],
        reason=reason or next((job.reason for job in jobs if state == "failed" and job.reason), ""),
    )
