"""Routes that book proposals: for those who may administer."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import Response

from forebay.api.answers import answer
from forebay.api.models import Folder, mirror
from forebay.api.route import Admin, OfProposal, Rest, audit
from forebay.api.tokens import demand_proposal
from forebay.store.catalog.values import Proposal


def add_proposals(app: FastAPI, rest: Rest) -> None:
    """Add the routes of this room."""
    operator = rest.operator

    @app.put("/proposals/{proposal}", tags=["proposals"], response_model=mirror(Proposal))
    def put_proposal(caller: Admin, proposal: OfProposal, wanted: Folder) -> Response:
        """Book a proposal, or give one that is known another folder; its numbers go on."""
        demand_proposal(caller, proposal)
        audit(caller, "books a proposal", proposal=proposal, directory=wanted.directory)
        return answer(operator.named(caller.name).put_proposal(proposal, wanted.directory))

    @app.post("/proposals/{proposal}/close", tags=["proposals"], response_model=mirror(Proposal))
    def close_proposal(caller: Admin, proposal: OfProposal) -> Response:
        """Let nothing be added to a proposal any more; what is there can be read."""
        demand_proposal(caller, proposal)
        audit(caller, "closes a proposal", proposal=proposal)
        return answer(operator.named(caller.name).close_proposal(proposal))
