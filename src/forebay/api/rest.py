"""The REST interface: one route for each method of the operator."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Query
from fastapi.responses import Response, StreamingResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from forebay.api.answers import answer, catch_errors
from forebay.api.dashboard import add_page
from forebay.api.models import Patience, Prepare, mirror, mirrors
from forebay.api.rest_data import add_data
from forebay.api.rest_proposals import add_proposals
from forebay.api.route import (
    REFUSALS,
    WAIT_S,
    JobId,
    JobQuery,
    Limit,
    Number,
    OfProposal,
    Operating,
    ProposalQuery,
    Reader,
    Rest,
    Wanted,
    audit,
    of_all,
    visible,
)
from forebay.api.tokens import demand_proposal
from forebay.job import Job, State
from forebay.run.values import Plan, RunStatus
from forebay.run.watch import update_about
from forebay.store.catalog.values import Run


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
    add_data(app, rest)
    add_proposals(app, rest)
    add_page(app)
    return app


def _jobs(app: FastAPI, rest: Rest) -> None:
    operator = rest.operator

    @app.post("/jobs", tags=["jobs"], status_code=201, response_model=mirrors(Job))
    def request_job(caller: Operating, wanted: Wanted) -> Response:
        """Accept a request: one job for each source. It is durable when this answers."""
        demand_proposal(caller, wanted.proposal)
        jobs = operator.named(caller.name).request(
            wanted.kind,
            wanted.parameters.model_dump(mode="json", exclude_unset=True),
            id=wanted.id,
            proposal=wanted.proposal,
            run=wanted.run,
            deadline_s=wanted.deadline_s,
        )
        audit(caller, "requested", kind=wanted.kind, jobs=",".join(job.id for job in jobs))
        return answer([visible(caller, job) for job in jobs], 201)

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
        found = of_all(caller, proposal, lambda name: operator.jobs(states=state, proposal=name, limit=limit))
        return answer(sorted(found, key=lambda job: -job.created_ns)[:limit])

    @app.get("/jobs/{job_id}", tags=["jobs"], response_model=mirror(Job))
    def job(caller: Reader, job_id: JobId) -> Response:
        """Return a job as it stands."""
        return answer(visible(caller, operator.job(job_id)))

    @app.post("/jobs/{job_id}/cancel", tags=["jobs"], response_model=mirror(Job))
    def cancel(caller: Operating, job_id: JobId) -> Response:
        """End a job as cancelled; what was recorded until then is kept."""
        visible(caller, operator.job(job_id))
        audit(caller, "cancelled", job=job_id)
        return answer(operator.named(caller.name).cancel(job_id))

    @app.post("/jobs/{job_id}/finish", tags=["jobs"], response_model=mirror(Job))
    def finish(caller: Operating, job_id: JobId) -> Response:
        """End a recording now as finished: what was asked for is what came until now."""
        visible(caller, operator.job(job_id))
        audit(caller, "told to finish", job=job_id)
        return answer(operator.named(caller.name).finish(job_id))


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
            found = visible(caller, await run_in_threadpool(operator.job, job_id))
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
            first = update_about(visible(caller, await run_in_threadpool(operator.job, job)))
        return StreamingResponse(
            feed.events(watcher, first),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
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
        audit(caller, "prepares a run", proposal=proposal)
        return answer(
            operator.named(caller.name).prepare(
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
            audit(caller, f"run: {name}", proposal=proposal)
            patience = {} if wanted is None or wanted.timeout is None else {"timeout": wanted.timeout}
            return answer(getattr(operator.named(caller.name), name)(proposal=proposal, **patience))

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
