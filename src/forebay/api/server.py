"""Serves an application from a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from forebay.config import ApiConfig
from forebay.errors import ServiceError
from forebay.stream.listen import listen

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_START_S = 10.0
_CLOSE_S = 5.0
_MORE_CONNECTIONS = 300


def open_port(address: str, port: int) -> socket.socket:
    """Return a listening socket, see `forebay.stream.listen`; `ServiceError` if it cannot be had."""
    return listen(address, port, "Stop who uses it, or set api.address and api.port to others.")


class Server:
    """An application behind an open port."""

    def __init__(self, app: ASGIApp, port: socket.socket, api: ApiConfig) -> None:
        tls: dict[str, Any] = {}
        if api.certificate is not None:
            tls = {"ssl_certfile": str(api.certificate), "ssl_keyfile": str(api.key)}
        config = uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=api.max_watchers + _MORE_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=int(_CLOSE_S),
            h11_max_incomplete_event_size=32_768,
            **tls,
        )
        try:
            config.load()
        except OSError as error:  # also ssl.SSLError
            raise ServiceError(
                f"The certificate {api.certificate} with the key {api.key} cannot be used: {error}.",
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
