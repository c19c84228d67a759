"""The process of a core of larpix-daq: the socket, the book of runs, the audit, and who else is told."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from forebay.front.larpix.arguments import PORTS
from forebay.front.larpix.conductor import Conductor
from forebay.service.larpix_book import FileBook
from forebay.service.larpix_post import Web
from forebay.service.process import notify, say
from forebay.stream.xylem import LogOut, RouterSocket

if TYPE_CHECKING:
    from forebay.service.larpix_catalog_book import CatalogBook

_TURN_S = 0.05
_STALL_S = 0.5
_MOST_MESSAGES = 1000  # before the core looks who is silent, and for its end


class WorkClock:
    """Seconds in which a process was at work: while it stands still itself, nobody else is late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._stood = 0.0

    def now(self) -> float:
        """Return the time; to be asked for more often than every `_STALL_S`."""
        now = self._clock()
        if now - self._last > _STALL_S:
            self._stood += now - self._last
        self._last = now
        return now - self._stood


def _book(arguments: argparse.Namespace) -> CatalogBook | FileBook:
    if not arguments.config:
        return FileBook(Path(arguments.runs))
    from forebay.config import load
    from forebay.service.larpix_catalog_book import CatalogBook
    from forebay.store.catalog import open_catalog  # takes a second, and most cores need none

    config = load(Path(arguments.config))
    lock = config.state_dir / "larpix" / f"{quote(arguments.proposal, safe='')}.lock"
    return CatalogBook(open_catalog(config), arguments.proposal, Path.cwd(), lock)


def run_conductor(arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Be the core until `stop`.

    Raises
    ------
    ForebayError
        If a port is in use, an address is open to others without ``--public``, or runs cannot be booked.
    """
    ports = [arguments.core_port] if arguments.core_port else PORTS
    socket = RouterSocket([f"{arguments.address}:{port}" for port in ports], public=arguments.public)
    book = _book(arguments)
    log, web = LogOut(arguments.log_address, "Core"), Web(arguments.web)
    old = ["STOP"]

    def audit(what: str, fields: dict[str, Any]) -> None:
        say(what, **fields)
        log.say("INFO", f"{what} {json.dumps(fields, default=str)}")
        if what == "component registered":
            web.tell("POST", "/component", {"new": fields["name"], "all": fields["all"]})
        elif what == "component lost":
            web.tell("DELETE", "/component", {"lost": fields["name"], "all": fields["all"]})
        elif what == "state":
            web.tell("POST", "/state", {"new": fields["state"], "old": old[0]})
            old[0] = fields["state"]

    conductor = Conductor(book, audit, confirm_s=arguments.confirm, drain_s=arguments.drain)
    clock = WorkClock()
    conductor.control.resume(clock.now())
    say("core", ports=list(ports))
    notify("READY=1")
    try:
        while not stop.is_set():
            timeout = _TURN_S
            for _ in range(_MOST_MESSAGES):
                received = socket.receive(timeout)
                if received is None:
                    break
                timeout = 0.0
                conductor.take(*received, clock.now())
                _send(conductor, socket)
            conductor.tick(clock.now())
            _send(conductor, socket)
    finally:
        socket.close()
        log.close()
        book.close()


def _send(conductor: Conductor, socket: RouterSocket) -> None:
    for identity, frames in conductor.outbox:
        socket.send(identity, frames)
    conductor.outbox.clear()
