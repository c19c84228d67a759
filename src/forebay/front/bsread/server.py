"""A REST interface for programs on this host: on loopback, for few at a time."""

from __future__ import annotations

import socket

from forebay.stream.http import Application, HttpServer
from forebay.stream.listen import listen

_CONNECTIONS = 100


def open_rest_port(port: int) -> socket.socket:
    """Return the listening socket of a port of loopback; `ServiceError` if it cannot be had."""
    return listen("127.0.0.1", port, "Stop who uses it, or give another port.")


class RestServer(HttpServer):
    """An application behind an open port."""

    def __init__(self, app: Application, port: socket.socket) -> None:
        super().__init__(app, port, most_connections=_CONNECTIONS)
