"""Where it is written how the services of this host are: a file for each supervisor, and the bus."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from forebay.config import Config
from forebay.errors import BusError, ServiceError
from forebay.ports import Bus, Message
from forebay.run.owner import host_name, is_gone, is_here, owner
from forebay.runtime import private_directory
from forebay.service.child import ServiceReport
from forebay.service.process import say

PERIOD_S = 1.0
"""How often everything is told again, also if nothing has changed."""

_LOOK_S = 0.1
_PAUSE_S = 5.0
_PATIENCE_S = 2.0


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What one supervisor wrote.

    Attributes
    ----------
    supervisor:
        The process, as `forebay.run.owner.owner` names it.
    config:
        Path of its configuration.
    time_ns:
        When it wrote this: ns since 1970, UTC.
    services:
        In the order in which they start.
    """

    supervisor: str
    config: str
    time_ns: int
    services: list[ServiceReport]


def read_boards(runtime_dir: Path) -> list[Board]:
    """Return what the living supervisors of a runtime directory wrote last."""
    boards = []
    for path in sorted(runtime_dir.glob("supervisor-*.json")):
        try:
            board = msgspec.json.decode(path.read_bytes(), type=Board)
        except (OSError, msgspec.DecodeError):  # gone meanwhile, or not ours
            continue
        if not is_gone(board.supervisor):
            boards.append(board)
    return boards


def others(config: Config, config_path: Path) -> list[Board]:
    """Return what supervisors of other configurations wrote that use this runtime directory now."""
    mine = str(config_path.resolve())
    return [one for one in read_boards(config.runtime_dir) if is_here(one.supervisor) and one.config != mine]


def check_alone(config: Config, config_path: Path) -> None:
    """Raise `ServiceError` if another supervisor has the hub of this runtime directory."""
    for board in read_boards(config.runtime_dir):
        if not is_here(board.supervisor) or not any(one.name.startswith("hub.") for one in board.services):
            continue
        process = board.supervisor.partition("(pid ")[2].partition(",")[0]
        what = f"forebay runs here already with {board.config} (process {process})."
        if board.config == str(config_path.resolve()):
            raise ServiceError(what, f"See it: forebay status. Stop it: kill {process}")
        raise ServiceError(
            f"{what} Both would use {config.runtime_dir} and {config.state_dir}.",
            f"Stop it; or keep them apart with two lines in {config_path}: "
            "`runtime_dir: run` and `state_dir: state`, folders beside that file.",
        )


class Teller:
    """Tells how services are: at once when something changes, and every `PERIOD_S`; a thread of its own.

    The file is always written. The bus is tried again as long as it is away; nothing waits for it.

    Parameters
    ----------
    reports:
        Asked for the present state; called from that thread.
    uses_bus:
        Whether there is a bus to tell it to.
    """

    def __init__(
        self,
        config: Config,
        config_path: Path,
        reports: Callable[[], Sequence[ServiceReport]],
        *,
        uses_bus: bool,
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._reports = reports
        self._me = owner("supervisor")
        self._path = private_directory(config.runtime_dir) / f"supervisor-{os.getpid()}.json"
        self._stop = threading.Event()
        self._files = threading.Thread(target=self._write_files, name="board", daemon=True)
        self._talks = threading.Thread(target=self._talk, name="board-bus", daemon=True) if uses_bus else None

    def start(self) -> None:
        """Begin to tell."""
        self._files.start()
        if self._talks is not None:
            self._talks.start()

    def close(self) -> None:
        """Tell a last time, and take the file away; may be called twice."""
        self._stop.set()
        if self._talks is not None:
            self._talks.join()
        self._files.join()
        self._path.unlink(missing_ok=True)

    def _write_files(self) -> None:
        told: Sequence[ServiceReport] = ()
        due = 0.0
        while not self._stop.wait(_LOOK_S):
            now, reports = time.monotonic(), self._reports()
            if reports == told and now < due:
                continue
            told, due = reports, now + PERIOD_S
            board = Board(
                supervisor=self._me,
                config=str(self._config_path),
                time_ns=time.time_ns(),
                services=list(reports),
            )
            try:
                new = self._path.with_suffix(".new")
                new.write_bytes(msgspec.json.encode(board))
                new.replace(self._path)
            except OSError as error:
                say("the state of the services cannot be written", logging.WARNING, reason=error)
                self._stop.wait(_PAUSE_S)

    def _talk(self) -> None:
        from forebay.run.bus import connect

        is_away = False
        while not self._stop.is_set():
            try:
                bus = connect(self._config, name="supervisor", patience_s=_PATIENCE_S)
            except BusError as error:
                if not is_away:
                    say("the bus is away; services go on", logging.WARNING, reason=error)
                is_away = True
                self._stop.wait(_LOOK_S)
                continue
            is_away = False
            try:
                self._tell_until_stop(bus)
            except BusError as error:
                say("the bus went away; services go on", logging.WARNING, reason=error)
            finally:
                bus.close()

    def _tell_until_stop(self, bus: Bus) -> None:
        told: dict[str, ServiceReport] = {}
        due = 0.0
        while True:
            is_last = self._stop.wait(_LOOK_S)
            now, is_due = time.monotonic(), time.monotonic() >= due
            if is_due:
                due = now + PERIOD_S
            for report in self._reports():
                if is_due or told.get(report.name) != report:
                    told[report.name] = report
                    key = f"service.{host_name()}.{report.name}"
                    body = msgspec.to_builtins(report)
                    bus.publish(Message(key, self._me, body, time_ns=time.time_ns()))
            if is_last:
                return
