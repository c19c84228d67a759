"""Serves a REST application from a thread of this process, on loopback."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

from forebay.errors import ServiceError
from forebay.stream.listen import listen

_CLOSE_S = 5.0


def open_rest_port(port: int) -> socket.socket:
    """Return the listening socket of a port of loopback; `ServiceError` if it cannot be had."""
    return listen("127.0.0.1", port, "Stop who uses it, or give another port.")


class RestServer:
    """An application behind an open port.

    Everything that the server imports is imported when this returns, so that the process may become
    another user before `start`.
    """

    def __init__(self, app: FastAPI, port: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=100,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=int(_CLOSE_S),
            h11_max_incomplete_event_size=16_384,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._port = port
        self._thread = threading.Thread(target=self._server.run, args=([port],), name="rest", daemon=True)

    def start(self) -> None:
        """Return once requests are answered; `ServiceError` if that does not come about."""
        self._thread.start()
        end = time.monotonic() + _CLOSE_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise ServiceError("The REST interface did not start.")
            time.sleep(0.005)

    def close(self) -> None:
        """Answer what was asked, then end."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(2 * _CLOSE_S)
        self._port.close()
