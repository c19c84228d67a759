"""Listening sockets for requests: answered at once, and no connection that hangs for ever."""

from __future__ import annotations

import socket
from typing import Final

from forebay.errors import ServiceError

STUCK_MS: Final = 30_000


def listen(address: str, port: int, todo: str) -> socket.socket:
    """Return a listening socket for REST.

    Small answers leave at once: asyncio sees to that only where the protocol of the socket was named, and
    an answer in two pieces, as uvicorn sends it, costs 40 ms otherwise. A connection whose other end takes
    nothing for half a minute is given up by the kernel.

    Parameters
    ----------
    port:
        0 for any that is free.
    todo:
        What a person can do if it cannot be had.

    Raises
    ------
    ServiceError
        If the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.create_server((address, port), family=family, backlog=256)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # Python says the address once more
        raise ServiceError(f"Port {port} of {address} cannot be used for REST: {why}.", todo) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_MS)  # accepted ones have both too
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
