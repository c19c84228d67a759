"""Socket.IO for browsers: news of the system, and commands to it, as larpix-daq's web server has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

import engineio
import socketio
from starlette.responses import Response

from forebay.front.larpix.desk import Ask, Desk
from forebay.front.larpix.operator import Answer, Operator

COMMAND_S: Final = 60.0
"""How long a command may take where it does not say, in seconds; routines may take `ROUTINE_S`."""

ROUTINE_S: Final = 86_400.0
MOST_CLIENTS: Final = 100
MOST_BYTES: Final = 2**18
MOST_LINES: Final = 200
"""Connections, with those that are given up only when they have not answered for some seconds."""


_QUIET = logging.getLogger("forebay.socketio")
_QUIET.setLevel(logging.CRITICAL)  # what is no message is answered, and no reason to fill a log
_PATH = "/socket.io/"
_EVENTS = {"state": "state-update", "component": "client-update"}
_COMMANDS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "prepare-run": (0, 0, lambda o, timeout: o.prepare_physics_run(timeout)),
    "start-run": (0, 0, lambda o, timeout: o.begin_physics_run(timeout)),
    "end-run": (0, 0, lambda o, timeout: o.end_physics_run(timeout)),
    "run_routine": (1, 50, lambda o, timeout, *given: o.run_routine(*given, timeout=timeout)),
    "write_config": (1, 1, lambda o, timeout, chip: o.write_configuration(chip, timeout)),
    "verify_config": (1, 1, lambda o, timeout, chip: o.validate_configuration(chip, timeout)),
    "retrieve_config": (1, 1, lambda o, timeout, chip: o.retrieve_configuration(chip, timeout)),
    "send_config": (1, 1, lambda o, timeout, updates: o.send_configuration(updates, timeout)),
    "read_config": (1, 1, lambda o, timeout, chip: o.read_configuration(chip, timeout)),
}
"""Command -> fewest and most parameters, and what is asked of an operator within a time."""

_SHOWN = ("data-rate", "packets", "messages")


def _configure(operator: Operator, timeout: float | None, chip: str, name: str, value: Any) -> Any:
    yield from operator.send_configuration({chip: {name: value}}, timeout)
    yield from operator.write_configuration(chip, timeout)


_COMMANDS["configure_chip"] = (3, 3, _configure)
COMMANDS: Final = (*_COMMANDS, *_SHOWN)
"""Names behind ``command/``."""


class Events:
    """An ASGI application that speaks Socket.IO, by polling and by WebSocket, and hands everything else on.

    Parameters
    ----------
    desk:
        Where commands are carried out.
    look:
        Name of `_SHOWN` -> what it shows.
    """

    def __init__(self, desk: Desk, look: dict[str, Callable[[], Any]], app: Any) -> None:
        self._desk, self._show = desk, look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._names: dict[str, tuple[str, bool]] = {}
        self._lines: dict[str, str] = {}
        # Polling passes the guard with every request, a WebSocket once. Origins are its task, too.
        self._io = socketio.AsyncServer(
            async_mode="asgi",
            cors_allowed_origins=[],
            max_http_buffer_size=MOST_BYTES,
            logger=_QUIET,
            engineio_logger=_QUIET,
        )
        self._io.on("connect", self._connected)
        self._io.on("disconnect", self._disconnected)
        for name in COMMANDS:
            self._io.on(f"command/{name}", self._commanded(name))
        self.asgi: Any = socketio.ASGIApp(self._io, app)
        desk.on_news.append(lambda name, answer: self.tell(_EVENTS[name], answer))

    async def _connected(self, sid: str, environ: dict[str, Any], _auth: Any = None) -> bool:
        token = environ["asgi.scope"].get("state", {}).get("token")
        if token is None or len(self._names) >= MOST_CLIENTS:
            return False
        self._loop = asyncio.get_running_loop()
        self._names[sid] = token.name, token.allows("operate")
        self._lines[sid] = self._io.manager.eio_sid_from_sid(sid, "/")
        return True

    async def _disconnected(self, sid: str, _reason: Any = None) -> None:
        self._names.pop(sid, None)
        line = self._lines.pop(sid, None)
        if line is not None:  # whoever leaves waits for the answer to its last question
            await self._io.eio.send_packet(line, engineio.packet.Packet(engineio.packet.NOOP))

    def behind(self, guarded: Any) -> Any:
        """Return `guarded` for clients that send their token once, with the first request of a connection."""

        async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] in ("http", "websocket") and scope["path"] == _PATH:
                line = parse_qs(scope["query_string"].decode("latin-1")).get("sid", [""])[0]
                if not line and len(self._io.environ) >= MOST_LINES:
                    if scope["type"] == "http":
                        await Response("Too many connections.", 503)(scope, receive, send)
                    else:
                        await receive()
                        await send({"type": "websocket.close", "code": 1013})
                    return
                token = self._io.environ.get(line, {}).get("HTTP_AUTHORIZATION")
                if token is not None and all(name != b"authorization" for name, _ in scope["headers"]):
                    headers = [*scope["headers"], (b"authorization", token.encode("latin-1"))]
                    scope = {**scope, "headers": headers}
            if scope["type"] == "websocket":
                await _unharmed(guarded, scope, receive, send)
            else:
                await guarded(scope, receive, send)

        return asgi

    @property
    def has_clients(self) -> bool:
        """Whether somebody listens."""
        return bool(self._names)

    def tell(self, event: str, body: Any) -> None:
        """Send an event to everybody who listens, from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed() and self._names:
            asyncio.run_coroutine_threadsafe(self._io.emit(event, body), loop)

    def _commanded(self, name: str) -> Callable[[str, Any], Any]:
        async def commanded(sid: str, message: Any = None) -> None:
            asked = message if isinstance(message, dict) else {}

            def tell(answer: Answer) -> None:
                self.tell("action-update", {**answer, **{k: asked.get(k) for k in ("id", "display", "name")}})

            who, may_operate = self._names.get(sid, ("", False))
            if name in _SHOWN:
                tell({"header": "ACTION RESULT", "message": {"result": self._show[name]()}})
            elif not may_operate:
                tell({"message": {"result": "ERROR: The token allows to read only."}})
            elif (problem := _problem(name, asked)) is not None:
                tell({"message": {"result": f"ERROR: Invalid parameters: {problem}"}})
            else:
                self._desk.command(
                    _asking(name, asked["params"]), f"{who} by web", _patience(name, asked), tell
                )

        return commanded


async def _unharmed(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Let a WebSocket talk; what is no message ends it, and neither fills a log nor harms anybody else."""
    try:
        await app(scope, receive, send)
    except ValueError:  # of engineio, for what is no packet
        await send({"type": "websocket.close", "code": 1007})


def _asking(name: str, params: list[Any]) -> Ask:
    ask = _COMMANDS[name][2]
    return lambda operator, timeout: ask(operator, timeout, *params)


def _patience(name: str, asked: dict[str, Any]) -> float:
    given = asked.get("timeout")
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(min(max(given, 0), ROUTINE_S))
    return ROUTINE_S if name == "run_routine" else COMMAND_S


def _problem(name: str, asked: dict[str, Any]) -> str | None:
    params = asked.setdefault("params", [])
    fewest, most, _ = _COMMANDS[name]
    if not isinstance(params, list) or not fewest <= len(params) <= most:
        return f"{name} takes a list of {fewest} to {most} params, not {str(params)[:80]}"
    if name != "send_config" and params and not isinstance(params[0], str):
        return f"{name} takes a name first, not {str(params[0])[:80]}"
    if name == "send_config" and not isinstance(params[0], dict):
        return "send_config takes an object: chip key -> name -> value"
    return None
