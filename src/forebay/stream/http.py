"""Serves an application of REST from a thread of this process; requests must come in time."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from forebay.errors import ServiceError

Application = Callable[..., Awaitable[None]]
"""An ASGI application."""

HEAD_S: Final = 10.0
"""How long the first line and the headers of a request may take to come."""

BODY_S: Final = 30.0
"""How long the body may take after them."""

_START_S: Final = 10.0
_CLOSE_S: Final = 5.0
_KEEP_ALIVE_S: Final = 15
_HEAD_BYTES: Final = 32_768


class HttpServer:
    """An application behind an open port.

    Everything that the server imports is imported when this returns, so that the process may become
    another user before `start`.

    Parameters
    ----------
    port:
        Listens already, see `forebay.stream.listen`; closed with the server.
    most_connections:
        Who comes beyond them is told to come again (503).
    certificate, key:
        PEM files for TLS; None for none.
    websocket_bytes:
        Of one message of a WebSocket, at most; 0 where there are none.

    Raises
    ------
    ServiceError
        If certificate and key cannot be used.
    """

    def __init__(
        self,
        app: Application,
        port: socket.socket,
        *,
        most_connections: int,
        certificate: Path | None = None,
        key: Path | None = None,
        websocket_bytes: int = 0,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=_PromptProtocol,
            loop="asyncio",
            ws="wsproto" if websocket_bytes else "none",
            ws_max_size=websocket_bytes,
            ws_per_message_deflate=False,  # a small message stays small
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=most_connections,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(_CLOSE_S),
            h11_max_incomplete_event_size=_HEAD_BYTES,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        try:
            config.load()
        except OSError as error:  # also ssl.SSLError
            raise ServiceError(
                f"The certificate {certificate} with the key {key} cannot be used: {error}.",
                "Give PEM files that belong together and that this user may read.",
            ) from error
        self._server = uvicorn.Server(config)
        self._port = port
        self._thread = threading.Thread(target=self._server.run, args=([port],), name="rest", daemon=True)

    def start(self) -> None:
        """Return once requests are answered; `ServiceError` if that does not come about."""
        self._thread.start()
        end = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise ServiceError("The REST interface did not start.")
            time.sleep(0.005)

    @property
    def is_alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Answer what was asked, then end; may be called twice."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(2 * _CLOSE_S)
        self._port.close()


class _PromptProtocol(H11Protocol):
    """A connection that is closed when a request does not come in time, so that nobody can hold them all."""

    _late: asyncio.TimerHandle | None = None
    _awaited: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await a request; see `asyncio.Protocol`."""
        super().connection_made(transport)
        self._await()

    def data_received(self, data: bytes) -> None:
        """Go on with a request, or begin the next; see `asyncio.Protocol`."""
        self._await()
        super().data_received(data)
        self._await()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing more; see `asyncio.Protocol`."""
        self._forget()
        super().connection_lost(exc)

    def _await(self) -> None:
        """Give what has to come next its time; nothing has to come while a request is answered."""
        state = self.conn.their_state
        if state is self._awaited:
            return
        self._forget()
        self._awaited = state
        limits: dict[Any, float] = {h11.IDLE: HEAD_S, h11.SEND_BODY: BODY_S}
        if (limit := limits.get(state)) is not None:
            self._late = self.loop.call_later(limit, self.transport.close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
