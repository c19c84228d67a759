"""The dashboard: one page that anybody can open, whose data need a token like all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

PAGE = Path(__file__).with_name("dashboard_page")
_KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A live image for eyes.

    Attributes
    ----------
    frame:
        Its pulse id.
    shape:
        (row, column).
    low, high:
        Values of the detector that are shown as 0 and 255.
    pixels:
        One byte a pixel, rows one after the other.
    """

    frame: int
    shape: tuple[int, int]
    low: float
    high: float
    pixels: bytes


def add_page(app: FastAPI) -> None:
    """Add the page, its script and its style."""
    for path, name in (
        ("/", "index.html"),
        ("/dashboard.js", "dashboard.js"),
        ("/dashboard.css", "dashboard.css"),
    ):
        app.add_api_route(path, _file(name), include_in_schema=False)


def _file(name: str) -> Callable[[], Any]:
    content = (PAGE / name).read_bytes()
    kind = _KINDS[name.rpartition(".")[2]]

    async def page() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return page


def picture_response(picture: Picture) -> Response:
    """Return a picture as bytes; what it is stands in the headers."""
    rows, columns = picture.shape
    headers = {
        "X-Forebay-Pulse": str(picture.frame),
        "X-Forebay-Shape": f"{rows},{columns}",
        "X-Forebay-Range": f"{picture.low:.6g},{picture.high:.6g}",
        "Cache-Control": "no-store",
    }
    return Response(picture.pixels, media_type="application/octet-stream", headers=headers)
