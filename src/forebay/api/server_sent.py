"""Server-sent events, as a client reads them."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator


def server_sent(response: Iterable[bytes]) -> Iterator[tuple[str, str, bytes]]:
    """Yield name, id and data of each event; comments are left out.

    Raises
    ------
    http.client.IncompleteRead
        When the lines end.
    """
    event, number, data = "", "", b""
    for line in response:
        name, _, value = line.rstrip(b"\r\n").partition(b": ")
        match name:
            case b"event":
                event = value.decode()
            case b"id":
                number = value.decode()
            case b"data":
                data = value
            case b"" if data:
                yield event, number, data
                event, number, data = "", "", b""
    raise http.client.IncompleteRead(b"")
