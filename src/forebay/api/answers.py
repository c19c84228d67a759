"""Answers: values as JSON, and one map from errors to status codes."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from forebay import errors
from forebay.errors import ConfigError, ForebayError

LOG = logging.getLogger("forebay")

STATUS: dict[type[ForebayError], int] = {
    errors.TokenError: 401,
    errors.AccessError: 403,
    errors.AbsentError: 404,
    errors.UnknownError: 404,
    errors.OverwrittenError: 410,
    errors.NotYetError: 409,
    errors.StateError: 409,
    errors.StoreError: 409,
    errors.ConfigError: 400,
    errors.WireError: 400,
    errors.ForebayError: 503,
}
"""HTTP status of each error; of a class that is not here, that of the nearest base."""

_SEND_JSON = "Send a JSON object, with the header Content-Type: application/json"
_ENCODER = msgspec.json.Encoder(enc_hook=str)


def status_of(error: ForebayError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer(value: Any, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


def refusal(error: ForebayError, status: int | None = None) -> Response:
    """Return an error as JSON: its class, what was asked and found, and what to do."""
    status = status or status_of(error)
    response = answer({"error": type(error).__name__, "what": error.what, "todo": error.todo}, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def catch_errors(app: FastAPI) -> None:
    """Let every error of an application come out as JSON of one form."""

    @app.exception_handler(ForebayError)
    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ForebayError)
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def not_valid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problems = "; ".join(_say(problem) for problem in error.errors()[:20])
        is_body = any(tuple(problem["loc"]) == ("body",) for problem in error.errors())
        is_json = not is_body and all(problem["type"] != "json_invalid" for problem in error.errors())
        return refusal(ConfigError(f"{problems}.", "" if is_json else _SEND_JSON), 422)

    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = refusal(
            ForebayError(
                f"{request.method} {request.url.path}: {error.detail}.",
                _SEND_JSON if error.status_code == 400 else "What there is: GET /openapi.json",
            ),
            error.status_code,
        )
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        LOG.error(
            "a request failed by a fault of ours",
            exc_info=error,
            extra={"fields": {"method": request.method, "path": request.url.path}},
        )
        return refusal(ForebayError("forebay has a fault of its own.", "The gateway's log has it."), 500)


def _say(problem: dict[str, Any]) -> str:
    """Return one problem of a request: where, what is allowed, what was found."""
    where = ".".join(str(part) for part in problem["loc"][1:]) or str(problem["loc"][0])
    if problem["type"] == "json_invalid":
        return f"The body is not JSON: {problem.get('ctx', {}).get('error', problem['msg'])}"
    if problem["type"] == "extra_forbidden":
        return f"{where} is not a known key"
    found = problem.get("input")
    shown = "" if found is None or isinstance(found, dict | list | bytes) else f" (found {str(found)[:80]!r})"
    return f"{where}: {str(problem['msg']).removeprefix('Value error, ')}{shown}"
