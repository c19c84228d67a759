"""The REST interface of the monitor: what it shows, a page of it, and larpix-daq's web server behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

from fastapi import FastAPI, Query, Response
from pydantic import Field

from forebay.errors import ForebayError, StreamError
from forebay.front.larpix.desk import Desk
from forebay.front.larpix.web import (
    BASES,
    Operating,
    add_pixels,
    add_posts,
    add_questions,
    merged_slashes,
    no_events,
)

PAGE: Final = Path(__file__).with_name("monitor_page")
_FILES = {
    "/": ("index.html", "text/html"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
    "/dashboard.css": ("dashboard.css", "text/css"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_NO_STORE = {"Cache-Control": "no-store"}

ChipKeys = Annotated[
    list[Annotated[str, Field(pattern=r"^\d{1,3}-\d{1,3}-\d{1,3}$")]],
    Query(max_length=1000, description="GROUP-CHANNEL-CHIP."),
]
Most = Annotated[int, Query(ge=1, le=100_000, description="The busiest; at most so many.")]
Group = Annotated[int | None, Query(ge=0, le=255, description="Of one board.")]

Tile = Annotated[int | None, Query(ge=0, le=64, description="Of one tile of it.")]


class Seen(Protocol):
    """What the interface shows; see `forebay.service.larpix_shown.Shown`."""

    def posted(self) -> dict[str, Any]:
        """Return what the original posts to its web server."""
        ...

    def status(self) -> dict[str, Any]:
        """Return state and run."""
        ...

    def boards(self) -> dict[str, Any]:
        """Return rate and counters of each board."""
        ...

    def rates(self, chip: list[str], most: int) -> dict[str, Any]:
        """Return rates in Hz."""
        ...

    def triggers(self) -> list[dict[str, Any]]:
        """Return counts and rates of sync and trigger words."""
        ...

    def histograms(self, chip: list[str]) -> dict[str, Any]:
        """Return counts of ADC values and of FIFO flags."""
        ...

    def fifo(self, most: int) -> list[dict[str, Any]]:
        """Return FIFO flags of chips."""
        ...

    def glance(self) -> dict[str, Any]:
        """Return what the page shows."""
        ...

    def packets(self) -> list[dict[str, Any]]:
        """Return the newest packets."""
        ...

    def messages(self) -> list[str]:
        """Return the newest texts."""
        ...

    def data_rate(self) -> str:
        """Return the mean rate of the run."""
        ...

    def retrieve_pixel_layout(self) -> dict[str, Any]:
        """Return the layout that is loaded; `ForebayError` if none is."""
        ...

    def load_pixel_layout(self, name: str) -> dict[str, Any]:
        """Load a layout; `ForebayError` if there is none of that name."""
        ...

    def picture(self, io_group: int | None, tile: int | None) -> bytes:
        """Return the map of pixels as PNG."""
        ...


@dataclass(frozen=True)
class MonitorApp:
    """The application.

    Attributes
    ----------
    rest:
        For those who handle its errors.
    asgi:
        For those who serve it; `forebay.api.guard.Guard` belongs before it, and `before` before that.
    before:
        Returns what is to be served of an application behind its guard.
    tell:
        Sends what was counted to browsers, if any listen; at most once a second.
    websocket_bytes:
        Of one message of a WebSocket, at most; 0 where there are none.
    """

    rest: FastAPI
    asgi: Any
    before: Callable[[Any], Any]
    tell: Callable[[], None]
    websocket_bytes: int = 0


def monitor_app(
    seen: Seen, metrics: Callable[[], str], clear: Callable[[], None], desk: Desk | None = None
) -> MonitorApp:
    """Return the application.

    Parameters
    ----------
    metrics:
        Returns the text for Prometheus.
    clear:
        Counts anew from now on.
    desk:
        Asks the core, where there is one.
    """
    app = FastAPI(title="LArPix monitor", docs_url=None, redoc_url=None)
    _add_page(app)
    _add_looks(app, seen, desk)
    add_pixels(app, seen.load_pixel_layout, lambda: _pixels(seen))

    @app.get("/metrics")
    def get_metrics() -> Response:
        """Return numbers for Prometheus."""
        return Response(metrics(), media_type="text/plain; version=0.0.4")

    @app.post("/clear", status_code=204)
    def post_clear(_who: Operating) -> None:
        """Count anew from now on."""
        clear()

    if desk is None:
        return MonitorApp(app, app, lambda guarded: guarded, lambda: None)
    add_questions(app, desk)
    try:
        from forebay.front.larpix.web_events import MOST_BYTES, Events
    except ImportError as error:
        no_events(app, error.name or "socketio")
        add_posts(app, lambda _event, _body: None)
        return MonitorApp(app, merged_slashes(app), lambda guarded: guarded, lambda: None)
    look = {"data-rate": seen.data_rate, "packets": seen.packets, "messages": seen.messages}
    events = Events(desk, look, merged_slashes(app))
    add_posts(app, events.tell)

    def tell() -> None:
        if events.has_clients:
            events.tell("data-update", {"packets": seen.posted()})

    return MonitorApp(app, events.asgi, events.behind, tell, MOST_BYTES)


def _add_page(app: FastAPI) -> None:
    for path, (name, kind) in _FILES.items():
        app.add_api_route(path, _file(name, kind), include_in_schema=False)


def _file(name: str, kind: str) -> Callable[[], Any]:
    content = (PAGE / name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return page


def _add_looks(app: FastAPI, seen: Seen, desk: Desk | None) -> None:
    for base in BASES:
        app.get(f"{base}/packets")(seen.posted)
        app.get(f"{base}/messages")(seen.messages)
        app.get(f"{base}/counters")(seen.boards)
        app.get(f"{base}/triggers")(seen.triggers)

        @app.get(f"{base}/state")
        def state() -> dict[str, Any]:
            """Return the core's answer, and state and run of the monitor."""
            return {**_standing(desk, "state"), **seen.status()}

        @app.get(f"{base}/glance")
        def glance() -> dict[str, Any]:
            """Return what the page shows."""
            return {**seen.glance(), "components": _components(desk), "last_end": _last_end(desk)}

        @app.get(f"{base}/rates")
        def rates(chip: ChipKeys = [], most: Most = 1000) -> dict[str, Any]:  # noqa: B006 - FastAPI copies it
            """Return rates in Hz over the last seconds."""
            return seen.rates(chip, most)

        @app.get(f"{base}/fifo")
        def fifo(most: Most = 1000) -> list[dict[str, Any]]:
            """Return the chips whose words had FIFO flags in this run, the fullest first."""
            return seen.fifo(most)

        @app.get(f"{base}/histograms")
        def histograms(chip: ChipKeys = []) -> dict[str, Any]:  # noqa: B006 - FastAPI copies it
            """Return counts of ADC values and of FIFO flags, of this run."""
            return seen.histograms(chip)

    @app.get("/pixels.png")
    def picture(io_group: Group = None, tile: Tile = None) -> Response:
        """Return the map of pixels."""
        return Response(seen.picture(io_group, tile), media_type="image/png", headers=_NO_STORE)


def _standing(desk: Desk | None, name: str) -> dict[str, Any]:
    try:
        return desk.standing(name) if desk is not None else {}
    except StreamError:
        return {}


def _components(desk: Desk | None) -> list[str] | None:
    if desk is None:
        return None
    names = _standing(desk, "component").get("message", {}).get("result")
    return list(map(str, names)) if isinstance(names, list) else []


def _last_end(desk: Desk | None) -> str:
    """Return why the run before ended, as the core says; nothing if it says nothing of it."""
    message = _standing(desk, "state").get("message")
    metadata = message.get("metadata") if isinstance(message, dict) else None
    return str(metadata.get("last_end") or "") if isinstance(metadata, dict) else ""


def _pixels(seen: Seen) -> dict[str, Any]:
    try:
        return seen.retrieve_pixel_layout()
    except ForebayError as error:
        return {"layout": None, "lookup": {}, "reason": str(error)}
