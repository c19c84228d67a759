"""An operator that carries nothing out: for tests of those who translate to it."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from typing import Any

import msgspec

from forebay.config import QuotaConfig
from forebay.errors import StateError, UnknownError
from forebay.job import Change, Job
from forebay.run.jobs import check_quota, parse_parameters
from forebay.run.states import allowed
from forebay.run.states import next as follow
from forebay.run.values import Plan, RunStatus, ServiceStatus, Status, Update
from forebay.store.catalog.values import File, Proposal, Run


class StandInWatch:
    """News from a queue of its own."""

    def __init__(self, operator: StandInOperator, job_id: str | None) -> None:
        self._operator, self._job_id = operator, job_id
        self.queue: queue.Queue[Any] = queue.Queue()
        operator.watches.append(self)

    def read(self, timeout: float) -> Update | None:
        try:
            found = self.queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found if self._job_id in (None, found.id) else None

    def close(self) -> None:
        if self in self._operator.watches:
            self._operator.watches.remove(self)

    def __enter__(self) -> StandInWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StandInOperator:
    """Keeps jobs in a dictionary; ``say`` and ``advance`` are what the world does.

    `fault` is raised by the next call of any method, once.
    """

    def __init__(self) -> None:
        self.watches: list[StandInWatch] = []
        self.fault: Exception | None = None
        self.who = "operator"
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._runs: dict[str, list[Run]] = {}
        self._states: dict[str, Any] = {}
        self._proposals = ["default", "p1", "p2"]
        self._folders: dict[str, str] = {}
        self._closed: set[str] = set()

    def _enter(self, proposal: str | None = None) -> None:
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        if proposal is not None and proposal not in self._proposals:
            raise UnknownError(f"There is no proposal {proposal}.")

    def reach(self):
        self._enter()

    def named(self, who):
        self.who = who
        return self

    def request(
        self,
        kind,
        parameters,
        *,
        id=None,  # noqa: A002
        proposal="default",
        run=None,
        deadline_s=None,
    ) -> list[Job]:
        self._enter(proposal)
        parsed = parse_parameters(kind, parameters)
        check_quota(parsed, QuotaConfig())
        names = getattr(parsed, "sources", [])
        parts = [parsed.model_copy(update={"sources": [name]}) for name in names] or [parsed]
        id = id or str(uuid.uuid4())  # noqa: A001
        made = []
        with self._lock:
            for part in parts:
                job_id = id if len(parts) == 1 else f"{id}.{part.sources[0]}"
                if job_id not in self._jobs:
                    now = time.time_ns()
                    self._jobs[job_id] = Job(
                        id=job_id,
                        kind=kind,
                        parameters=part.model_dump(mode="json"),
                        proposal=proposal,
                        run=run or 1,
                        history=(Change("queued", now, self.who),),
                        owner=self.who,
                        n_asked=part.n_asked,
                        created_ns=now,
                    )
                made.append(self._jobs[job_id])
        return made

    def plan(self, kind, parameters, *, proposal="default", run=None) -> list[Plan]:
        self._enter(proposal)
        parsed = parse_parameters(kind, parameters)
        check_quota(parsed, QuotaConfig())
        return [
            Plan(source="jf", file="/data/x.h5", host="h", n_asked=parsed.n_asked, most_bytes=1, free_bytes=2)
        ]

    def job(self, job_id: str) -> Job:
        self._enter()
        if job_id not in self._jobs:
            raise UnknownError(f"There is no job {job_id}.")
        return self._jobs[job_id]

    def jobs(self, *, states=(), proposal=None, limit=100) -> list[Job]:
        self._enter(proposal)
        found = [
            job
            for job in self._jobs.values()
            if (not states or job.state in states) and proposal in (None, job.proposal)
        ]
        return found[::-1][:limit]

    def wait(self, job_id: str, timeout: float) -> Job:
        end = time.monotonic() + timeout
        while not self.job(job_id).has_ended and time.monotonic() < end:
            time.sleep(0.01)
        return self.job(job_id)

    def advance(self, job_id: str, state: str, n_done: int = 0, reason: str = "") -> Job:
        job = self.job(job_id)
        if job.has_ended:
            raise StateError(f"Job {job_id} has ended: {job.state}.")
        change = Change(state, time.time_ns(), "worker", reason)
        job = msgspec.structs.replace(
            job, state=state, n_done=n_done, reason=reason, history=(*job.history, change)
        )
        self._jobs[job_id] = job
        body = {"state": state, "n_done": n_done, "n_asked": job.n_asked, "reason": reason, "result": {}}
        self.say("job", f"job.{job.kind}", job_id, body)
        return job

    def cancel(self, job_id: str) -> Job:
        return self.advance(job_id, "cancelled", reason="cancelled by an operator")

    def finish(self, job_id: str) -> Job:
        return self.advance(job_id, "finished")

    def say(self, topic: str, key: str, id: str = "", body: dict[str, Any] | None = None) -> None:  # noqa: A002
        for watch in list(self.watches):
            watch.queue.put(Update(topic=topic, key=key, id=id, body=body or {}, time_ns=time.time_ns()))

    def _command(self, proposal: str, name: str) -> RunStatus:
        self._enter(proposal)
        state = follow(self._states.get(proposal, "idle"), name)
        self._states[proposal] = follow(state, "confirmed")
        return self.run_status(proposal)

    def prepare(self, sources, *, proposal="default", tag="", comment="", timeout=10.0) -> RunStatus:
        status = self._command(proposal, "prepare")
        runs = self._runs.setdefault(proposal, [])
        runs.append(Run(proposal=proposal, number=len(runs) + 1, tag=tag, comment=comment))
        return status

    def start(self, *, proposal="default", timeout=10.0) -> RunStatus:
        self._enter(proposal)
        self._states[proposal] = follow(follow(self._states.get(proposal, "idle"), "start"), "confirmed")
        return self.run_status(proposal)

    def stop(self, *, proposal="default", timeout=60.0) -> RunStatus:
        return self._command(proposal, "stop")

    def abort(self, *, proposal="default", timeout=60.0) -> RunStatus:
        return self._command(proposal, "abort")

    def run_status(self, proposal="default") -> RunStatus:
        self._enter(proposal)
        state = self._states.get(proposal, "idle")
        number = len(self._runs.get(proposal, [])) or None
        return RunStatus(proposal=proposal, run=number, state=state, allowed=list(allowed(state)))

    def runs(self, proposal="default", *, limit=100, before=None) -> list[Run]:
        self._enter(proposal)
        found = [one for one in self._runs.get(proposal, []) if before is None or one.number < before]
        return found[::-1][:limit]

    def files(self, proposal=None, *, run=None, job_id=None, limit=100) -> list[File]:
        self._enter(proposal)
        found = [File(path=f"/data/{name}.h5", proposal=name, run=1) for name in self._proposals]
        return [one for one in found if proposal in (None, one.proposal) and run in (None, 1)][:limit]

    def proposals(self) -> list[Proposal]:
        self._enter()
        return [self._proposal(name) for name in self._proposals]

    def _proposal(self, name) -> Proposal:
        folder = self._folders.get(name, f"/data/{name}")
        return Proposal(name=name, directory=folder, closed_ns=1 if name in self._closed else None)

    def put_proposal(self, name, directory) -> Proposal:
        self._enter()
        if name not in self._proposals:
            self._proposals.append(name)
        self._folders[name] = str(directory)
        return self._proposal(name)

    def close_proposal(self, name) -> Proposal:
        self._enter(name)
        if name in self._closed:
            raise StateError(f"Proposal {name} is closed already.")
        self._closed.add(name)
        return self._proposal(name)

    def routines(self) -> dict[str, str]:
        self._enter()
        return {"pedestal": "Take a pedestal."}

    def status(self, proposal="default") -> Status:
        self._enter(proposal)
        jobs = [job for job in self._jobs.values() if not job.has_ended]
        service = ServiceStatus(
            key="service.h.receive.jf", state="ready", detail={"state": "ready"}, heard_ns=time.time_ns()
        )
        return Status(
            services=[service], run=self.run_status(proposal), n_jobs={"queued": len(jobs)}, jobs=jobs
        )

    def watch(self, job_id: str | None = None) -> StandInWatch:
        self._enter()
        return StandInWatch(self, job_id)

    def close(self) -> None:
        """Nothing is open."""
