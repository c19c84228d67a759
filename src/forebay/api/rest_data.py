"""Routes that read: files, proposals, status, live images, and the state of the gateway itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Query
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from forebay.api.answers import answer
from forebay.api.dashboard import picture_response
from forebay.api.glance import Glance
from forebay.api.models import Health, mirror, mirrors
from forebay.api.route import (
    Detector,
    JobQuery,
    Limit,
    Number,
    ProposalQuery,
    Reader,
    Rest,
    of_all,
    with_scope,
)
from forebay.api.tokens import demand_proposal
from forebay.run.intake import DEFAULT_PROPOSAL
from forebay.run.values import Status
from forebay.store.catalog.values import File, Proposal


def add_data(app: FastAPI, rest: Rest) -> None:
    """Add the routes of this room."""
    _lists(app, rest)
    _live(app, rest)
    _service(app, rest)


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
        found = of_all(caller, proposal, lambda name: operator.files(name, run=run, job_id=job, limit=limit))
        return answer(sorted(found, key=lambda file: -file.created_ns)[:limit])

    @app.get("/proposals", tags=["data"], response_model=mirrors(Proposal))
    def proposals(caller: Reader) -> Response:
        """Return every proposal, by name."""
        return answer([one for one in operator.proposals() if caller.allows_proposal(one.name)])

    @app.get("/routines", dependencies=[with_scope("read")], tags=["data"], response_model=dict[str, str])
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


def _live(app: FastAPI, rest: Rest) -> None:
    @app.get("/live", tags=["live"], response_model=list[str])
    def live(caller: Reader) -> Response:
        """Return the detectors that have a live stream; none for a token that is for some proposals only."""
        found = [name for name, one in rest.config.detectors.items() if one.live is not None]
        return answer(found if not caller.proposals else [])

    @app.get(
        "/live/{detector}",
        tags=["live"],
        responses={200: {"content": {"application/octet-stream": {}}, "description": "8 bits a pixel."}},
        response_class=Response,
    )
    def picture(caller: Reader, detector: Detector) -> Response:
        """Return the newest image of a detector, made small: one byte a pixel, row after row.

        ``X-Forebay-Shape`` is rows and columns, ``X-Forebay-Pulse`` the pulse id, ``X-Forebay-Range`` the
        values shown as 0 and 255. It belongs to no proposal: a token must be for all of them.
        """
        demand_proposal(caller, None)
        return picture_response(rest.picture(detector))


def _service(app: FastAPI, rest: Rest) -> None:
    number = version("forebay")

    @app.get("/health", tags=["service"], response_model=Health)
    async def health() -> Response:
        """Say that the gateway lives."""
        return answer({"state": "alive", "version": number})

    @app.get("/ready", tags=["service"], response_model=Health)
    def ready() -> Response:
        """Say that bus and catalogue answer; 503 if not."""
        rest.operator.reach()
        rest.feed.check()
        return answer({"state": "ready", "version": number})

    @app.get(
        "/metrics", dependencies=[with_scope("read")], tags=["service"], response_class=PlainTextResponse
    )
    def metrics() -> Response:
        """Return every counter of every service, in Prometheus' text format."""
        return PlainTextResponse(rest.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get(
        "/configuration", dependencies=[with_scope("admin")], tags=["service"], response_model=dict[str, Any]
    )
    def configuration() -> Response:
        """Return the configuration of this host; passwords are masked."""
        return answer(rest.config.model_dump(mode="json"))
