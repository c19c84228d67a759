"""The process of a core of larpix-daq: the socket, the book of runs, the audit, and who else is told."""

from __future__ import annotations

import argparse
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from forebay.errors import ConfigError, StreamError
from forebay.front.larpix.arguments import PORTS
from forebay.front.larpix.conductor import Conductor
from forebay.service.larpix_book import FileBook
from forebay.service.larpix_known import KnownFile
from forebay.service.larpix_post import Web
from forebay.service.process import notify, say
from forebay.stream.xylem import LogOut, RouterSocket

if TYPE_CHECKING:
    from forebay.service.larpix_catalog_book import CatalogBook

_WARNINGS: Final = (
    "component lost",
    "component failed",
    "component refused",
    "malformed message",
    "not booked",
    "run did not end as asked",
)

Messages = list[tuple[bytes, list[bytes]]]

_TURN_S = 0.05
_STANDBY_S = 0.05
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


def _book(arguments: argparse.Namespace) -> tuple[CatalogBook | FileBook, KnownFile]:
    """Return the book of runs, and the file of components beside it."""
    if not arguments.config:
        runs = Path(arguments.runs)
        if arguments.directory is not None:
            what = "--directory is the folder of a proposal, and there is no configuration with a catalogue."
            raise ConfigError(what, "Give it with --config CONFIG, or leave it out.")
        say("runs are booked in a file", file=runs.absolute())
        return FileBook(runs), KnownFile(runs.with_name(f"{runs.name}.components"))
    from forebay.config import load
    from forebay.run.proposals import check_proposal
    from forebay.service.larpix_catalog_book import CatalogBook
    from forebay.store.catalog import open_catalog  # takes a second, and most cores need none

    config = load(Path(arguments.config))
    lock = config.state_dir / "larpix" / f"{quote(arguments.proposal, safe='')}.lock"
    folder = None
    if arguments.directory is not None:
        folder = check_proposal(arguments.proposal, Path(arguments.directory).absolute())
    book = CatalogBook(open_catalog(config), arguments.proposal, config.record.directory, lock, folder)
    say("runs are booked in the catalogue", proposal=arguments.proposal, folder=book.directory)
    return book, KnownFile(lock.with_suffix(".components"))


class _Opening(threading.Thread):
    """Opens the book. Components of the original, which wait 1.5 s for an answer, are answered meanwhile."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(name="book", daemon=True)
        self._arguments = arguments
        self._found: tuple[CatalogBook | FileBook, KnownFile] | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Open it."""
        try:
            self._found = _book(self._arguments)
        except Exception as error:  # noqa: BLE001 - raised by `wait`
            self._error = error

    def wait(self, socket: RouterSocket) -> tuple[CatalogBook | FileBook, KnownFile, Messages]:
        """Return book and file, and the messages that came meanwhile."""
        came: Messages = []
        self.start()
        while self.is_alive():
            received = socket.receive(_TURN_S)
            if received is None:
                continue
            identity, frames = received
            if frames == [b"PING"]:
                socket.send(identity, [b"PONG"])
            came.append(received)
        if self._found is None:
            raise self._error or RuntimeError("The book was not opened.")
        return *self._found, came


def run_conductor(arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Be the core until `stop`.

    Raises
    ------
    ForebayError
        If a port is in use, an address is open to others without ``--public``, or runs cannot be booked.
    """
    ports = [arguments.core_port] if arguments.core_port else PORTS
    is_waiting = False

    def again() -> bool:
        nonlocal is_waiting
        if arguments.standby and not is_waiting:
            is_waiting = True
            say("standing by: another core has the port", ports=list(ports))
            notify("READY=1")
        return arguments.standby and not stop.wait(_STANDBY_S)

    addresses = [f"{arguments.address}:{port}" for port in ports]
    try:
        socket = RouterSocket(addresses, public=arguments.public, again=again)
    except StreamError:
        if stop.is_set():
            return
        raise
    try:
        book, known, came = _Opening(arguments).wait(socket)
    except Exception:
        socket.close()
        raise
    log, web = LogOut(arguments.log_address, "Core"), Web(arguments.web)
    old = ["STOP"]

    def audit(what: str, fields: dict[str, Any]) -> None:
        level = logging.WARNING if what in _WARNINGS else logging.INFO
        say(what, level, **fields)
        log.say(logging.getLevelName(level), f"{what} {json.dumps(fields, default=str)}")
        if what in ("component registered", "component taken over"):
            web.tell("POST", "/component", {"new": fields["name"], "all": fields["all"]})
        elif what == "component lost":
            web.tell("DELETE", "/component", {"lost": fields["name"], "all": fields["all"]})
        elif what == "state":
            web.tell("POST", "/state", {"new": fields["state"], "old": old[0]})
            old[0] = fields["state"]

    conductor = Conductor(
        book, audit, confirm_s=arguments.confirm, drain_s=arguments.drain, remember=known.save
    )
    clock = WorkClock()
    conductor.resume(known.load(), clock.now())
    for identity, frames in came:
        conductor.take(identity, frames, clock.now())
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
