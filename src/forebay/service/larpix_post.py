"""What core and monitor post to a web server, which may be away and holds nobody up."""

from __future__ import annotations

import http.client
import json
import logging
import queue
import threading
import urllib.request
from typing import Any, Final

from forebay.service.process import say

_TIMEOUT_S: Final = 1.0
_MOST: Final = 100


class Web:
    """Tells a web server, in a thread of its own; what it does not take is thrown away, as ever.

    Parameters
    ----------
    base:
        URL before the paths, e.g. ``http://localhost:5000`` or ``http://localhost:5000/api``; nothing is
        told if it is empty.

    Attributes
    ----------
    n_lost:
        What was thrown away: the server was away, refused it, or was too slow.
    """

    def __init__(self, base: str) -> None:
        self.n_lost = 0
        self._base = base.rstrip("/")
        self._is_away = False
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._queue: queue.Queue[tuple[str, str, dict[str, Any]]] = queue.Queue(_MOST)
        if base:
            threading.Thread(target=self._run, name="web", daemon=True).start()

    def tell(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Send this sometime."""
        if not self._base:
            return
        try:
            self._queue.put_nowait((method, path, body))
        except queue.Full:
            self.n_lost += 1

    def _run(self) -> None:
        while True:
            method, path, body = self._queue.get()
            try:
                request = urllib.request.Request(  # noqa: S310 - the address is an option of this process
                    self._base + path,
                    json.dumps(body).encode(),
                    {"Content-Type": "application/json"},
                    method=method,
                )
                self._direct.open(request, timeout=_TIMEOUT_S).close()
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.n_lost += 1
                self._say("web server does not take it", is_away=True, path=path, error=error)
            else:
                self._say("web server takes it", is_away=False, lost=self.n_lost)

    def _say(self, what: str, *, is_away: bool, **fields: object) -> None:
        """Say what has changed."""
        if self._is_away != is_away:
            self._is_away = is_away
            say(what, logging.WARNING if is_away else logging.INFO, **fields)
