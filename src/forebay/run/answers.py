"""Errors on the bus: found out by one process, raised by another as the same class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay import errors
from forebay.errors import ForebayError


def error_body(error: ForebayError) -> dict[str, Any]:
    """Return an error as the body of an answer."""
    return {"error": type(error).__name__, "what": error.what, "todo": error.todo}


def raise_error(body: Mapping[str, Any]) -> None:
    """Raise the error that an answer holds; nothing if it holds none."""
    if "error" not in body:
        return
    kind = getattr(errors, str(body["error"]), ForebayError)
    if not (isinstance(kind, type) and issubclass(kind, ForebayError)):
        kind = ForebayError
    raise kind(str(body.get("what", "Something failed.")), str(body.get("todo", "")))
