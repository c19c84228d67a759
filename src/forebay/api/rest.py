"""The REST interface: one route for each method of the operator."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from fastapi import Body, Depends, FastAPI, Header, Path, Query, Request
from fastapi.openapi.models import Example
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from forebay.api.answers import answer, catch_errors
from forebay.api.feed import Feed
from forebay.api.glance import Glance
from forebay.api.models import EXAMPLES, Health, JobRequest, Patience, Prepare, Refusal, mirror, mirrors
from forebay.api.tokens import Scope, Token, demand_proposal, demand_scope
from forebay.config import Config
from forebay.errors import UnknownError
from forebay.job import Job, State
from forebay.run.intake import DEFAULT_PROPOSAL
from forebay.run.operator import Operator
from forebay.run.values import Plan, RunStatus, Status, Update
from forebay.store.catalog.values import File, Proposal, Run

LOG = logging.getLogger("forebay")

WAIT_S = 30.0
"""Longest wait for the end of a job in one request."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,128}$", description="Id of the job.")]
JobQuery = Annotated[
    str | None, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,128}$", description="Only of this job.")
]
OfProposal = Annotated[str, Path(pattern=_NAME, description="Name of the proposal.", examples=["default"])]
ProposalQuery = Annotated[str | None, Query(pattern=_NAME, description="Only of this proposal.")]
Wanted = Annotated[
    JobRequest,
    Body(
        openapi_examples={
            kind: Example(value={"kind": kind, "parameters": value}) for kind, value in EXAMPLES.items()
        }
    ),
]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most to return, the newest first.")]

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "It cannot be carried out as it stands."},
    401: {"model": Refusal, "description": "No token, or not a good one."},
    403: {"model": Refusal, "description": "The token does not allow it, or a web page asked."},
    404: {"model": Refusal, "description": "There is no such thing."},
    408: {"model": Refusal, "description": "The body did not come in time."},
    409: {"model": Refusal, "description": "Not now: the state of a run, a job or a file does not allow it."},
    410: {"model": Refusal, "description": "It has left the buffers."},
    413: {"model": Refusal, "description": "The body is too large."},
    422: {"model": Refusal, "description": "The request is not of the form that is documented."},
    503: {"model": Refusal, "description": "Who would carry it out cannot be reached."},
}


@dataclass(frozen=True, slots=True)
class Rest:
    """What the interface is about.

    Attributes
    ----------
    metrics:
        Returns the counters of every service in Prometheus' text format.
    """

    config: Config
    operator: Operator
    feed: Feed
    metrics: Callable[[], str]


def _with_scope(scope: Scope) -> Any:
    """Return the dependency of a route that needs `scope`; it is asked before the body is looked at."""

    async def caller(request: Request) -> Token:
        token: Token = request.state.token
        demand_scope(token, scope, f"{request.method} {request.url.path}")
        return token

    return Depends(caller)


Reader = Annotated[Token, _with_scope("read")]
Operating = Annotated[Token, _with_scope("operate")]
Admin = Annotated[Token, _with_scope("admin")]


def rest_app(rest: Rest) -> FastAPI:
    """Return the application; put `forebay.api.guard.Guard` before it."""
    app = FastAPI(
        title="forebay",
        summary="Data acquisition: record, retrieve, check, and watch it happen.",
        version=version("forebay"),
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
        dependencies=[Depends(HTTPBearer(auto_error=False, description="From forebay token add."))],
        generate_unique_id_function=lambda route: route.name,
    )
    catch_errors(app)
    _jobs(app, rest)
    _waiting(app, rest)
    _runs(app, rest)
    _lists(app, rest)
    _service(app, rest)
    return app


def _audit(token: Token, what: str, **fields: object) -> None:
    """Log who asked for something that changes something."""
    LOG.info(what, extra={"fields": {"token": token.name, **fields}})


def _visible(token: Token, job: Job) -> Job:
    """Return a job that a token may see; for others it is not there."""
    if not token.allows_proposal(job.proposal):
        raise UnknownError(f"There is no job {job.id}.", "GET /jobs lists the newest.")
    return job


def _of_all(token: Token, proposal: str | None, fetch: Callable[[str | None], Sequence[Any]]) -> list[Any]:
    """Return what there is of a proposal or, where none is named, of all that the token is for."""
    if proposal is not None or not token.proposals:
        demand_proposal(token, proposal)
        return list(fetch(proposal))
    return [one for name in token.proposals for one in fetch(name)]


def _jobs(app: FastAPI, rest: Rest) -> None:
    operator = rest.operator

    @app.post("/jobs", tags=["jobs"], status_code=201, response_model=mirrors(Job))
    def request_job(caller: Operating, wanted: Wanted) -> Response:
        """Accept a request: one job for each source. It is durable when this answers."""
        demand_proposal(caller, wanted.proposal)
        jobs = operator.request(
            wanted.kind,
            wanted.parameters.model_dump(mode="json", exclude_unset=True),
            id=wanted.id,
            proposal=wanted.proposal,
            run=wanted.run,
            deadline_s=wanted.deadline_s,
        )
        _audit(caller, "requested", kind=wanted.kind, jobs=",".join(job.id for job in jobs))
        return answer([_visible(caller, job) for job in jobs], 201)

    @app.post("/plan", tags=["jobs"], response_model=mirrors(Plan))
    def plan(caller: Operating, wanted: Wanted) -> Response:
        """Check a request and say what it would write, where, and how large; nothing is done."""
        demand_proposal(caller, wanted.proposal)
        parameters = wanted.parameters.model_dump(mode="json", exclude_unset=True)
        return answer(operator.plan(wanted.kind, parameters, proposal=wanted.proposal, run=wanted.run))

    @app.get("/jobs", tags=["jobs"], response_model=mirrors(Job))
    def jobs(
        caller: Reader,
        state: Annotated[list[State], Query(description="Only in these states.")] = [],  # noqa: B006 - never changed
        proposal: ProposalQuery = None,
        limit: Limit = 100,
    ) -> Response:
        """Return jobs, newest first."""
        found = _of_all(
            caller, proposal, lambda name: operator.jobs(states=state, proposal=name, limit=limit)
        )
        return answer(sorted(found, key=lambda job: -job.created_ns)[:limit])

    @app.get("/jobs/{job_id}", tags=["jobs"], response_model=mirror(Job))
    def job(caller: Reader, job_id: JobId) -> Response:
        """Return a job as it stands."""
        return answer(_visible(caller, operator.job(job_id)))

    @app.post("/jobs/{job_id}/cancel", tags=["jobs"], response_model=mirror(Job))
    def cancel(caller: Operating, job_id: JobId) -> Response:
        """End a job as cancelled; what was recorded until then is kept."""
        _visible(caller, operator.job(job_id))
        _audit(caller, "cancelled", job=job_id)
        return answer(operator.cancel(job_id))

    @app.post("/jobs/{job_id}/finish", tags=["jobs"], response_model=mirror(Job))
    def finish(caller: Operating, job_id: JobId) -> Response:
        """End a recording now as finished: what was asked for is what came until now."""
        _visible(caller, operator.job(job_id))
        _audit(caller, "told to finish", job=job_id)
        return answer(operator.finish(job_id))


def _waiting(app: FastAPI, rest: Rest) -> None:
    operator, feed = rest.operator, rest.feed

    @app.get("/jobs/{job_id}/wait", tags=["jobs"], response_model=mirror(Job))
    async def wait(
        caller: Reader,
        job_id: JobId,
        timeout: Annotated[float, Query(gt=0, le=WAIT_S, description="Longest wait, in seconds.")] = WAIT_S,
    ) -> Response:
        """Return a job as soon as it has ended, or as it stands after the time given."""
        end = time.monotonic() + timeout
        while True:
            watcher = feed.join(caller, job_id)
            found = _visible(caller, await run_in_threadpool(operator.job, job_id))
            left = end - time.monotonic()
            if found.has_ended or left <= 0:
                return answer(found)
            await feed.news(watcher, min(left, 1.0))

    @app.get("/watch", tags=["watch"], responses={200: {"content": {"text/event-stream": {}}}})
    async def watch(
        caller: Reader,
        job: JobQuery = None,
        last_event_id: Annotated[
            str | None, Header(description="Id of the last event that you have; the next ones follow.")
        ] = None,
    ) -> Response:
        """Listen for news as server-sent events: of one job until its end, or of everything.

        Events are ``job``, ``run``, ``service`` and ``worker``, with an `Update` as data; ``gap`` says that
        some were missed. A client that reads too slowly is dropped; it may come back with the id of its
        last event.
        """
        watcher = feed.join(caller, job, last_event_id)
        first = None
        if job is not None:
            first = update_of(_visible(caller, await run_in_threadpool(operator.job, job)))
        return StreamingResponse(
            feed.events(watcher, first),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


def update_of(job: Job) -> Update:
    """Return how a job stands as the first piece of news about it."""
    body = {name: getattr(job, name) for name in ("kind", "state", "n_done", "n_asked", "reason", "result")}
    return Update(
        topic="job",
        key=f"job.{job.kind}",
        id=job.id,
        body=body,
        time_ns=job.history[-1].time_ns if job.history else 0,
    )


def _runs(app: FastAPI, rest: Rest) -> None:
    operator = rest.operator

    @app.get("/proposals/{proposal}/run", tags=["runs"], response_model=mirror(RunStatus))
    def run_status(caller: Reader, proposal: OfProposal) -> Response:
        """Return where the newest run of a proposal stands."""
        demand_proposal(caller, proposal)
        return answer(operator.run_status(proposal))

    @app.post("/proposals/{proposal}/run/prepare", tags=["runs"], response_model=mirror(RunStatus))
    def prepare(caller: Operating, proposal: OfProposal, wanted: Prepare) -> Response:
        """Draw a run number and make everything ready; answers when every service has confirmed."""
        demand_proposal(caller, proposal)
        _audit(caller, "prepares a run", proposal=proposal)
        return answer(
            operator.prepare(
                wanted.sources,
                proposal=proposal,
                tag=wanted.tag,
                comment=wanted.comment,
                timeout=wanted.timeout,
            )
        )

    def command(name: str, says: str) -> None:
        def run_command(caller: Operating, proposal: OfProposal, wanted: Patience | None = None) -> Response:
            demand_proposal(caller, proposal)
            _audit(caller, f"run: {name}", proposal=proposal)
            patience = {} if wanted is None or wanted.timeout is None else {"timeout": wanted.timeout}
            return answer(getattr(operator, name)(proposal=proposal, **patience))

        path = f"/proposals/{{proposal}}/run/{name}"
        app.post(path, tags=["runs"], name=name, description=says, response_model=mirror(RunStatus))(
            run_command
        )

    command("start", "Record the sources of the prepared run; answers when each one is being recorded.")
    command("stop", "End the run; answers when every file is whole.")
    command("abort", "End now whatever goes on, in whatever state; what is whole is kept.")

    @app.get("/proposals/{proposal}/runs", tags=["runs"], response_model=mirrors(Run))
    def runs(
        caller: Reader,
        proposal: OfProposal,
        limit: Limit = 100,
        before: Annotated[Number | None, Query(description="Only runs of smaller numbers.")] = None,
    ) -> Response:
        """Return runs, newest first."""
        demand_proposal(caller, proposal)
        return answer(operator.runs(proposal, limit=limit, before=before))


def _lists(app: FastAPI, rest: Rest) -> None:
    operator = rest.operator

    @app.get("/files", tags=["data"], response_model=mirrors(File))
    def files(
        caller: Reader,
        proposal: ProposalQuery = None,
        run: Annotated[Number | None, Query(description="Only of this run.")] = None,
        job: JobQuery = None,
        limit: Limit = 100,
    ) -> Response:
        """Return the files that are booked, newest first."""
        found = _of_all(caller, proposal, lambda name: operator.files(name, run=run, job_id=job, limit=limit))
        return answer(sorted(found, key=lambda file: -file.created_ns)[:limit])

    @app.get("/proposals", tags=["data"], response_model=mirrors(Proposal))
    def proposals(caller: Reader) -> Response:
        """Return every proposal, by name."""
        return answer([one for one in operator.proposals() if caller.allows_proposal(one.name)])

    @app.get("/routines", dependencies=[_with_scope("read")], tags=["data"], response_model=dict[str, str])
    def routines() -> Response:
        """Return the routines that can be run, and what each does."""
        return answer(operator.routines())

    glance = Glance(operator)

    @app.get("/status", tags=["data"], response_model=mirror(Status))
    async def status(caller: Reader, proposal: ProposalQuery = None) -> Response:
        """Return services, a proposal's run, and the jobs that wait or run, as of this quarter second."""
        if proposal is None:
            proposal = caller.proposals[0] if caller.proposals else DEFAULT_PROPOSAL
        demand_proposal(caller, proposal)
        found = glance.recent(proposal)
        if found is None:
            found = await run_in_threadpool(glance.look, proposal)
        if caller.proposals:
            jobs = [job for job in found.jobs if caller.allows_proposal(job.proposal)]
            return answer(msgspec.structs.replace(found, jobs=jobs))
        return answer(found)


def _service(app: FastAPI, rest: Rest) -> None:
    number = version("forebay")

    @app.get("/health", tags=["service"], response_model=Health)
    async def health() -> Response:
        """Say that the gateway lives."""
        return answer({"state": "alive", "version": number})

    @app.get("/ready", tags=["service"], response_model=Health)
    def ready() -> Response:
        """Say that bus and catalogue answer; 503 if not."""
        rest.operator.jobs(limit=1)
        rest.feed.check()
        return answer({"state": "ready", "version": number})

    @app.get(
        "/metrics", dependencies=[_with_scope("read")], tags=["service"], response_class=PlainTextResponse
    )
    def metrics() -> Response:
        """Return every counter of every service, in Prometheus' text format."""
        return PlainTextResponse(rest.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get(
        "/configuration", dependencies=[_with_scope("admin")], tags=["service"], response_model=dict[str, Any]
    )
    def configuration() -> Response:
        """Return the configuration of this host; passwords are masked."""
        return answer(rest.config.model_dump(mode="json"))
