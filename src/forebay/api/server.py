"""The REST interface behind its port: as the configuration says, with TLS where it gives a certificate."""

from __future__ import annotations

import socket

from forebay.config import ApiConfig
from forebay.stream.http import Application, HttpServer
from forebay.stream.listen import listen

_MORE_CONNECTIONS = 300
"""Connections beside those that watch."""


def open_port(address: str, port: int) -> socket.socket:
    """Return a listening socket, see `forebay.stream.listen`; `ServiceError` if it cannot be had."""
    return listen(address, port, "Stop who uses it, or set api.address and api.port to others.")


class Server(HttpServer):
    """An application behind an open port; `ServiceError` if its certificate cannot be used."""

    def __init__(
        self, app: Application, port: socket.socket, api: ApiConfig, *, websocket_bytes: int = 0
    ) -> None:
        super().__init__(
            app,
            port,
            most_connections=api.max_watchers + _MORE_CONNECTIONS,
            certificate=api.certificate,
            key=api.key,
            websocket_bytes=websocket_bytes,
        )
