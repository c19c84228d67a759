"""REST applications for programs on this host: errors as JSON, and nothing for web pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from forebay.errors import ConfigError, ForebayError

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


def local_app(title: str) -> FastAPI:
    """Return an application without paths.

    An error is JSON with ``state`` ``error`` and the reason as ``status``, and one by its HTTP status too.
    """
    app = FastAPI(title=title, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def refuse_web_pages(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Let no page in the browser of somebody on this host do what only that somebody may."""
        host = request.headers.get("host", "").lower()
        name = host if host in _LOCAL_NAMES else host.rpartition(":")[0]
        foreign = request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign or "origin" in request.headers or name not in _LOCAL_NAMES:
            return _error(403, "Only programs on this host may ask, by the name localhost.")
        return await call_next(request)

    @app.exception_handler(ForebayError)
    async def refused(_request: Request, error: Exception) -> Response:
        return _error(400 if isinstance(error, ConfigError) else 409, str(error))

    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else str(error)
        return _error(status, f"{request.method} {request.url.path}: {detail}.")

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> Response:
        return _error(500, f"{title} has a fault of its own: {error!r}.")

    return app


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"state": "error", "status": text}, status)
