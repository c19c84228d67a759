"""The REST interface of ``sf_bsread_writer``: its methods, paths, bodies and answers."""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from forebay.errors import ConfigError
from forebay.front.bsread.local import local_app
from forebay.pulse import MAX_PULSE_ID

MAX_BODY_BYTES: Final = 65_536

MANDATORY: Final = ("general/created", "general/user", "general/process", "general/instrument")


class BsreadWriter(Protocol):
    """What the interface commands. Everything may raise `ForebayError`; nothing waits long but `stop`."""

    @property
    def status(self) -> str:
        """``waiting``, ``writing`` or ``error``."""
        ...

    @property
    def reason(self) -> str:
        """Why the status is ``error``; else empty."""
        ...

    @property
    def statistics(self) -> dict[str, object]:
        """First and last pulse and time that were asked for, the last ones that came, counters."""
        ...

    def set_parameters(self, parameters: dict[str, Any]) -> None:
        """Keep what the next file says of itself."""
        ...

    def start(self, first_pulse: int) -> None:
        """Begin with this pulse id."""
        ...

    def start_now(self, output_file: str | None) -> None:
        """Begin with messages of this moment; `output_file` names a file other than the configured one."""
        ...

    def set_last_pulse(self, last_pulse: int) -> None:
        """End with this pulse id, included."""
        ...

    def stop_now(self) -> None:
        """End with messages of this moment."""
        ...

    def stop(self) -> None:
        """Write what has come, close the file, and end the process after the answer."""
        ...

    def kill(self) -> None:
        """Close the file with what was written, and end the process after the answer."""
        ...


def writer_app(writer: BsreadWriter) -> FastAPI:
    """Return the application that drives `writer`.

    Success of ``start_*``, ``stop_*`` and ``kill`` is an empty answer. Everything else, errors too, is JSON
    with ``state`` (``ok`` or ``error``) and ``status``. Unlike the original's, an error is one by its HTTP
    status too.
    """
    app = local_app("sf_bsread_writer")

    @app.get("/status")
    def get_status() -> dict[str, object]:
        """Say whether the writer waits, writes or failed."""
        return _ok(writer)

    @app.post("/parameters")
    async def post_parameters(request: Request) -> dict[str, object]:
        """Set what the file says of itself."""
        parameters = await _json_object(request)
        if not set(MANDATORY) <= parameters.keys():
            received = ", ".join(parameters) or "none"
            raise ConfigError(f"Parameters {', '.join(MANDATORY)} are mandatory; received: {received}.")
        writer.set_parameters(parameters)
        return _ok(writer) | {"parameters": parameters}

    @app.get("/statistics")
    def get_statistics() -> dict[str, object]:
        """Return what was asked for, what came last, and the counters."""
        return _ok(writer) | {"statistics": writer.statistics}

    @app.put("/start_pulse_id/{pulse_id}")
    def start(pulse_id: str) -> Response:
        """Begin with this pulse id."""
        writer.start(_pulse_id(pulse_id))
        return _nothing()

    @app.put("/stop_pulse_id/{pulse_id}")
    def stop_at(pulse_id: str) -> Response:
        """End with this pulse id, included."""
        writer.set_last_pulse(_pulse_id(pulse_id))
        return _nothing()

    @app.put("/start_now")
    async def start_now(request: Request) -> Response:
        """Begin with messages of this moment."""
        wanted = await _json_object(request)
        output_file = wanted.get("output_file")
        if output_file is not None and not isinstance(output_file, str):
            raise ConfigError(f"output_file is {output_file!r}; it must be text.")
        await run_in_threadpool(writer.start_now, output_file)
        return _nothing()

    @app.put("/stop_now")
    def stop_now() -> Response:
        """End with messages of this moment."""
        writer.stop_now()
        return _nothing()

    @app.get("/stop")
    def stop() -> dict[str, object]:
        """Close the file and end the process."""
        writer.stop()
        return _ok(writer)

    @app.get("/kill")
    def kill() -> Response:
        """End the process; the file is closed with what is written."""
        writer.kill()
        return _nothing()

    return app


def _ok(writer: BsreadWriter) -> dict[str, object]:
    answer: dict[str, object] = {"state": "ok", "status": writer.status}
    return answer | ({"reason": writer.reason} if writer.reason else {})


def _nothing() -> Response:
    return Response(media_type="text/html")


def _pulse_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_PULSE_ID):
        raise ConfigError(f"Pulse id {text[:40]!r} is not an integer from 0 to {MAX_PULSE_ID}.")
    return int(text)


async def _json_object(request: Request) -> dict[str, Any]:
    """Return the body, an object of JSON; no body is an empty one."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The body is not JSON: {error}.", "Send an object such as {}.") from error
    if not isinstance(value, dict):
        raise ConfigError(
            f"The body is a JSON {type(value).__name__}, not an object.", "Send an object such as {}."
        )
    return value
