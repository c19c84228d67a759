"""What every route is made of: who asks, what it names, what it may answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Body, Depends, Path, Query, Request
from fastapi.openapi.models import Example
from pydantic import Field

from forebay.api.dashboard import Picture
from forebay.api.feed import Feed
from forebay.api.models import EXAMPLES, JobRequest, Refusal
from forebay.api.tokens import Scope, Token, demand_proposal, demand_scope
from forebay.config import Config
from forebay.errors import UnknownError
from forebay.job import Job
from forebay.run.operator import Operator

LOG = logging.getLogger("forebay")

WAIT_S = 30.0
"""Longest wait for the end of a job in one request."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,128}$", description="Id of the job.")]
Detector = Annotated[str, Path(pattern=NAME, description="Name of the detector.")]
JobQuery = Annotated[
    str | None, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,128}$", description="Only of this job.")
]
OfProposal = Annotated[str, Path(pattern=NAME, description="Name of the proposal.", examples=["default"])]
ProposalQuery = Annotated[str | None, Query(pattern=NAME, description="Only of this proposal.")]
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
    picture:
        Returns the newest live image of a detector.
    """

    config: Config
    operator: Operator
    feed: Feed
    metrics: Callable[[], str]
    picture: Callable[[str], Picture]


def with_scope(scope: Scope) -> Any:
    """Return the dependency of a route that needs `scope`; it is asked before the body is looked at."""

    async def caller(request: Request) -> Token:
        token: Token = request.state.token
        demand_scope(token, scope, f"{request.method} {request.url.path}")
        return token

    return Depends(caller)


Reader = Annotated[Token, with_scope("read")]
Operating = Annotated[Token, with_scope("operate")]
Admin = Annotated[Token, with_scope("admin")]


def audit(token: Token, what: str, **fields: object) -> None:
    """Log who asked for something that changes something."""
    LOG.info(what, extra={"fields": {"token": token.name, **fields}})


def visible(token: Token, job: Job) -> Job:
    """Return a job that a token may see; for others it is not there."""
    if not token.allows_proposal(job.proposal):
        raise UnknownError(f"There is no job {job.id}.", "GET /jobs lists the newest.")
    return job


def of_all(token: Token, proposal: str | None, fetch: Callable[[str | None], Sequence[Any]]) -> list[Any]:
    """Return what there is of a proposal or, where none is named, of all that the token is for."""
    if proposal is not None or not token.proposals:
        demand_proposal(token, proposal)
        return list(fetch(proposal))
    return [one for name in token.proposals for one in fetch(name)]
