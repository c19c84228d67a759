"""Routes of larpix-daq's web server, of both generations: what core and monitor post, what browsers ask."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import Body, Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, Field

from forebay.errors import AccessError, StreamError, UnknownError
from forebay.front.larpix.desk import Desk
from forebay.front.larpix.operator import Answers, Operator

BASES: Final = ("", "/api")
"""Paths of the README's generation, and of the later one."""

Name = Annotated[str, Field(max_length=255)]
Names = Annotated[list[Name], Field(max_length=1000)]
FileName = Annotated[str, Query(max_length=255)]
State = Literal["STOP", "READY", "RUN"]


class StateNews(BaseModel):
    """What a core posts of its state."""

    new: State
    old: State


class ComponentNews(BaseModel):
    """What a core posts of a component that came."""

    new: Name
    all: Names


class ComponentLoss(BaseModel):
    """What a core posts of a component that is gone."""

    lost: Name
    all: Names


class BoardName(BaseModel):
    """Which board to load: a file, or its short name, e.g. ``pcb-3``."""

    filename: Name
    shortname: bool = False


def who_operates(request: Request) -> str:
    """Return the name of who asks; `AccessError` if that is somebody who may not change anything."""
    token = getattr(request.state, "token", None)
    if token is None or not token.allows("operate"):
        raise AccessError("This needs a token of scope operate.", "forebay token add NAME --scope operate")
    return f"{token.name} by web"


Operating = Annotated[str, Depends(who_operates)]
_TAKEN: Final = 204
_READER = "web"


def merged_slashes(app: Any) -> Any:
    """Return an ASGI application that takes ``//state`` for ``/state``: so the original's core writes it."""

    async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if "//" in scope.get("path", ""):
            scope = {**scope, "path": re.sub("/+", "/", scope["path"])}
        await app(scope, receive, send)

    return asgi


def add_posts(app: FastAPI, tell: Callable[[str, Any], None]) -> None:
    """Add the routes to which core and monitor post; `tell` sends events to browsers."""
    for base in BASES:

        @app.post(f"{base}/state", status_code=_TAKEN)
        def state_news(_who: Operating, news: StateNews) -> None:
            """Tell browsers the state."""
            tell("state-update", {"message": {"result": news.new}})

        @app.post(f"{base}/component", status_code=_TAKEN)
        def component_news(_who: Operating, news: ComponentNews) -> None:
            """Tell browsers the components."""
            tell("client-update", {"message": {"result": news.all}})

        @app.delete(f"{base}/component", status_code=_TAKEN)
        def component_loss(_who: Operating, news: ComponentLoss) -> None:
            """Tell browsers the components."""
            tell("client-update", {"message": {"result": news.all}})

        @app.post(f"{base}/packets", status_code=_TAKEN)
        def packets(_who: Operating, posted: Annotated[dict[str, Any], Body()]) -> None:
            """Tell browsers what another monitor has counted."""
            tell("data-update", {"packets": posted})


def _result(answer: dict[str, Any]) -> Any:
    result = answer["message"].get("result")
    if isinstance(result, str) and result.startswith("ERROR"):
        raise StreamError(result.removeprefix("ERROR: ")[:1000])
    return result


def add_questions(app: FastAPI, desk: Desk) -> None:
    """Add the routes that ask the core and its components."""

    def board(ask: Callable[[Operator, float | None], Answers], who: str = _READER) -> dict[str, Any]:
        return desk.ask(ask, who)

    for base in BASES:

        @app.get(f"{base}/component")
        def components() -> dict[str, Any]:
            """Return the core's answer: its components."""
            return desk.standing("component")

        @app.get(f"{base}/boards")
        def boards() -> Any:
            """Return the boards that can be loaded, and the present one."""
            return _result(board(lambda o, timeout: o.get_boards(timeout)))

        @app.post(f"{base}/boards", status_code=_TAKEN)
        def load_board(who: Operating, named: BoardName) -> None:
            """Load a board."""
            name = f"controller/{named.filename}_chip_info.json" if named.shortname else named.filename
            _result(board(lambda o, timeout: o.load_board(name, timeout), who))

        @app.get(f"{base}/routines")
        def routines() -> dict[str, Any]:
            """Return the board's answer: its routines."""
            return board(lambda o, timeout: o.list_routines(timeout))

        @app.get(f"{base}/command/actionid/{{number}}")
        def action(number: int) -> Any:
            """Return the result of an action that was asked for here; ``pending`` while there is none."""
            try:
                return desk.result(number)
            except KeyError:
                raise UnknownError(
                    f"invalid id: no action {number} was asked for here.", "Ids are those of the core."
                ) from None


def add_pixels(app: FastAPI, load: Callable[[str], Any], retrieve: Callable[[], Any]) -> None:
    """Add the routes of the pixel layout."""
    for base in BASES:

        @app.get(f"{base}/pixels")
        def pixels(filename: FileName = "") -> Any:  # noqa: ARG001 - the README's generation has it
            """Return layout and lookup of what is loaded; ``layout`` is null while nothing is."""
            return retrieve()

        @app.post(f"{base}/pixels")
        def load_pixels(_who: Operating, filename: FileName) -> Any:
            """Load a layout, and return it."""
            return load(filename)


def no_events(app: FastAPI, missing: str) -> None:
    """Answer whoever speaks Socket.IO that its library is not there."""

    @app.api_route("/socket.io/", methods=["GET", "POST"], include_in_schema=False)
    def not_installed() -> Response:
        text = (
            f"Socket.IO needs a library that is not installed ({missing}): pip install 'forebay[larpix-web]'"
        )
        return Response(text, 501, media_type="text/plain")
