"""The producer of larpix-daq: words of a board as packet blocks, between the marks of a run; its actions."""

from __future__ import annotations

import argparse
import ast
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from forebay.errors import ConfigError, ForebayError
from forebay.event import Event
from forebay.front.larpix.arguments import home_address
from forebay.front.larpix.component import LATER
from forebay.ports import Sink
from forebay.service.larpix_chips import Chips, read_boards
from forebay.service.larpix_flow import records_of
from forebay.service.larpix_part import TURN_S, Part
from forebay.service.larpix_routines import RunningRoutine
from forebay.service.larpix_routines import load as load_routines
from forebay.service.larpix_watch import BoardWatch
from forebay.stream.xylem import DataOut
from forebay.wire.larpix import block, board_block
from forebay.wire.larpix.configure import read_words, registers_read, write_words
from forebay.wire.pacman_batch import PacmanArrays, messages_of, pieces
from forebay.wire.xylem import BEGINNING, ENDING, Data, Info

BLOCK_PACKETS: Final = 20_000
"""Packets of one DATA message at most."""

BLOCK_BYTES: Final = 2**22
"""Bytes of messages in one DATA message, about."""

_ANSWER_S = 2.0
_LOOK_S = 1.0
_ACTIONS = (
    "write_config",
    "read_config",
    "validate_config",
    "retrieve_config",
    "send_config",
    "get_boards",
    "load_board",
    "list_routines",
    "load_routines",
    "run_routine",
    "routine_progress",
    "abort_routine",
    "sleep",
)


class BoardLine(Protocol):
    """Boards, real or not, that speak in PACMAN messages.

    Attributes
    ----------
    chips:
        Chip keys, where no configuration of a board names them.
    """

    chips: list[str]

    @property
    def asic_versions(self) -> Mapping[int, str]:
        """Io group -> version of its chips."""
        ...

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """Board -> counters so far."""
        ...

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return blocks of messages, as `forebay.ports.Source`."""
        ...

    def drain(self, sink: Sink) -> dict[str, Any]:
        """Write what the boards had sent by now, also what is on its way; return what is to be said of it."""
        ...

    def send(self, io_group: int, io_channel: int, words: Any) -> None:
        """Send words to chips."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def is_original(arguments: argparse.Namespace, board: BoardLine) -> bool:
    """Whether packet blocks are those of larpix-daq, which have words of chips of version 1 only."""
    others = {version for version in board.asic_versions.values() if version != "1"}
    if arguments.block == "0.1" and others:
        raise ConfigError(
            f"Packet blocks of version 0.1 cannot carry words of chips of version {min(others)}.",
            "Leave --block out, or take 1.0: then all components are to be forebay's.",
        )
    return not others if arguments.block is None else bool(arguments.block == "0.1")


class Producer(Part):
    """Publishes what the board sends while the state is RUN.

    Attributes
    ----------
    n_packets, n_messages:
        Sent in this run.
    """

    def __init__(self, arguments: argparse.Namespace, board: BoardLine) -> None:
        self._out = DataOut(arguments.address, public=arguments.public)
        super().__init__(
            arguments.name,
            "BOARD",
            home_address(arguments),
            arguments.log_address,
            addresses={"BOARD": self._out.address},
            actions={name: getattr(self, name) for name in _ACTIONS},
        )
        self._board = board
        boards = read_boards(Path(arguments.boards) if arguments.boards else None, board.chips)
        self._chips = Chips(boards, board.asic_versions)
        self._is_original = is_original(arguments, board)
        self._routines = load_routines(Path(arguments.routines) if arguments.routines else None)
        self._running: RunningRoutine | None = None
        self._reply = self.component.reply
        self._sleep_until: float | None = None
        self._sequence = 0
        self._is_running = False
        self._counters_before: dict[str, dict[str, int]] = {}
        self.n_packets = self.n_messages = 0
        self._watch, self._look_at = BoardWatch(), 0.0

    # The run

    def enter(self, state: str, run: int | None) -> dict[str, Any] | None:
        """Mark the run's begin and end in the flow of data."""
        if state == "RUN":
            self._board.read(0)  # of no run
            self._counters_before = self._board.counters
            self.n_packets = self.n_messages = 0
            self._info(BEGINNING, run=run)
            self._is_running = True
            return self._account() | _warnings(self._away())
        if self._is_running:
            drained = self._board.drain(self)
            self._is_running = False
            self._end_run(run)
            return self._account() | drained | _warnings(self._silent())
        return _warnings(self._away()) if state == "READY" else {}

    def _away(self) -> list[str]:
        """Name the boards that are not connected; simulated ones always are."""
        return [
            f"{name} is not connected"
            for name, own in self._board.counters.items()
            if own.get("connections", 1) <= own.get("disconnections", 0)
        ]

    def _silent(self) -> list[str]:
        """Name the boards that sent nothing in this run, or were lost in it."""
        counters = self.counters_of_run()
        silent = [f"nothing came of {name}" for name, own in counters.items() if not own.get("messages")]
        return silent + [f"{name} was lost" for name, own in counters.items() if own.get("disconnections")]

    def _account(self) -> dict[str, Any]:
        return {
            "packets_sent": self.n_packets,
            "messages_sent": self.n_messages,
            "boards": self.counters_of_run(),
        }

    def _end_run(self, run: int | None) -> None:
        account = {"packets": self.n_packets, "messages": self.n_messages, "boards": self.counters_of_run()}
        self._info(ENDING, run=run, **account)

    def counters_of_run(self) -> dict[str, dict[str, int]]:
        """Return board -> what its counters say of this run, without those that say nothing."""
        before = self._counters_before
        return {
            name: {key: n - before[name][key] for key, n in own.items() if n != before[name][key]}
            for name, own in self._board.counters.items()
        }

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _info(self, text: str, **more: Any) -> None:
        self._out.send(Info(time.time(), self.name, text, {**more, "sequence": self._next()}))

    def write(self, events: Sequence[Event]) -> None:
        """Publish what boards sent; outside of a run it is of no interest."""
        if not self._is_running or not events:
            return
        for payload, n in self._blocks([messages_of(event) for event in events]):
            header = {"name": self.name, "timestamp": time.time(), "sequence": self._next()}
            self._out.send(Data(header, payload))
            self.n_packets += n
            self.n_messages += 1

    def _blocks(self, came: Sequence[PacmanArrays]) -> Iterator[tuple[bytes, int]]:
        """Yield packet blocks, and how many packets each has."""
        if self._is_original:
            records = np.concatenate([records_of(arrays) for arrays in came])
            for start in range(0, len(records), BLOCK_PACKETS):
                some = records[start : start + BLOCK_PACKETS]
                yield block.encode(some), len(some)
            return
        for arrays in came:
            for piece in pieces(arrays, BLOCK_BYTES):
                yield board_block.encode(piece), len(piece.batch.words)

    def turn(self) -> None:
        """Publish what has come; look after the routine."""
        self.write(self._board.read(TURN_S) or ())
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            self._look()
        if self._running is not None and (done := self._running.poll()) is not None:
            self._running = None
            self._reply(done[0])
        if self._sleep_until is not None and time.monotonic() >= self._sleep_until:
            self._sleep_until = None
            self._reply("success")

    def _look(self) -> None:
        """Say of boards that went away, or are back: to the log, and to whoever sees the data."""
        for text, is_bad in self._watch.look(self._board.counters, time.monotonic()):
            self.say(text, logging.WARNING if is_bad else logging.INFO)
            if self._is_running:
                self._info(text)

    def close(self) -> None:
        """See `Part`."""
        if self._running is not None:
            self._running.abort()
        if self._is_running:
            self.write(self._board.read(0) or ())
            self._end_run(None)
        super().close()
        self._out.close()
        self._board.close()

    # Actions

    def write_config(self, key: str, registers: Any = "") -> str:
        """write_config(key, registers=''): send a chip its configuration, or some registers of it."""
        group, channel, chip = self._chips.place(key)
        values = self._chips.registers(key)
        addresses = _addresses(registers, len(values))
        self._board.send(
            group, channel, write_words(self._chips.asic_version(key), chip, addresses, values[addresses])
        )
        return "success"

    def _read(self, key: str, registers: Any) -> dict[int, int]:
        group, channel, chip = self._chips.place(key)
        wanted = _addresses(registers, len(self._chips.registers(key)))
        version = self._chips.asic_version(key)
        self._board.send(group, channel, read_words(version, chip, wanted))
        found: dict[int, int] = {}
        end = time.monotonic() + _ANSWER_S
        while len(found) < len(wanted) and time.monotonic() < end:
            events = self._board.read(TURN_S) or ()
            self.write(events)
            for arrays in map(messages_of, events):
                words = arrays.batch.words
                own = words[(words["kind"] == ord("D")) & (words["channel"] == channel)]
                if arrays.io_group != group or not own.size:
                    continue
                chips, addresses, values = registers_read(own["word"].astype(np.uint64), version)
                mine = chips == chip
                if mine.any():
                    end = time.monotonic() + _ANSWER_S
                found |= dict(zip(addresses[mine].tolist(), values[mine].tolist(), strict=True))
        return found

    def read_config(self, key: str, registers: Any = "") -> str:
        """read_config(key, registers=''): read registers of a chip, one line each."""
        found = self._read(key, registers)
        lines = [f"{key} register {a} ({self._chips.name_of(key, a)}): {value}" for a, value in found.items()]
        return "\n".join(lines)

    def validate_config(self, key: str) -> list[Any]:
        """validate_config(key): whether a chip has its configuration, and where not: [stored, read]."""
        found = self._read(key, "")
        stored = self._chips.registers(key).tolist()
        pairs = {str(a): [one, found.get(a)] for a, one in enumerate(stored) if found.get(a) != one}
        return [not pairs, pairs]

    def retrieve_config(self, key: str) -> dict[str, Any]:
        """retrieve_config(key): return the configuration of a chip as it is in software."""
        return self._chips.settings(key)

    def send_config(self, updates: dict[str, Any]) -> str:
        """send_config(updates): change configurations in software, chip key -> name -> value."""
        self._chips.change(updates)
        return "success"

    def get_boards(self) -> dict[str, Any]:
        """get_boards(): list the boards that can be loaded, with their chips, and the present one."""
        data = [{"name": name, "chips": chips} for name, chips in self._chips.boards.items()]
        return {"data": data, "current": self._chips.current}

    def load_board(self, filename: str) -> str:
        """load_board(filename): load a board by its name or file name."""
        self._chips.load(filename)
        return "success"

    def list_routines(self) -> list[dict[str, Any]]:
        """list_routines(): list the routines with their parameters."""
        return [
            {
                "name": name,
                "params": [{"name": one, "type": "input"} for one in routine.params],
                "description": routine.description,
            }
            for name, routine in self._routines.items()
        ]

    def load_routines(self, location: str) -> str:
        """load_routines(location): say how routines are registered; none is loaded from the network."""
        raise ConfigError(
            f"Routines are not loaded by request, asked was {location!r}.", "Register them: --routines FILE."
        )

    def run_routine(self, name: str, *params: Any) -> object:
        """run_routine(name, ...): run a routine in a process of its own; answers when it has ended."""
        if name not in self._routines:
            raise ConfigError(f"There is no routine {name!r}.", f"There are {', '.join(self._routines)}.")
        if self._running is not None:
            raise ConfigError(f"Routine {self._running.name} is running.", "Wait, or abort it.")
        self._reply = self.component.reply
        self._running = RunningRoutine(name, self._routines[name], list(params), self._act, self._say_info)
        return LATER

    def _say_info(self, text: str) -> None:
        self._info(text)

    def _act(self, action: str, params: list[Any]) -> Any:
        if action not in _ACTIONS or action in ("run_routine", "abort_routine", "sleep"):
            return f"ERROR: Could not execute action {action}"
        try:
            return getattr(self, action)(*params)
        except (ForebayError, TypeError, ValueError) as error:
            return f"ERROR: {error}"

    def routine_progress(self) -> dict[str, Any]:
        """routine_progress(): the routine that runs, null if none, and which part of it is done, 0 to 1."""
        running = self._running
        return {"name": running and running.name, "progress": running.progress if running else 0.0}

    def abort_routine(self) -> str:
        """abort_routine(): end the routine that runs."""
        if self._running is None:
            raise ConfigError("No routine is running.")
        self._running.abort()
        self._reply(f"ERROR: routine {self._running.name} was aborted")
        self._running = None
        return "success"

    def sleep(self, time_in_sec: float) -> object:
        """sleep(time_in_sec): answer after so many seconds."""
        if self._sleep_until is not None or self._running is not None:
            raise ConfigError("The board has something to answer still.")
        self._reply = self.component.reply
        self._sleep_until = time.monotonic() + min(max(float(time_in_sec), 0.0), 3600.0)
        return LATER


def _warnings(texts: list[str]) -> dict[str, Any]:
    return {"warnings": texts} if texts else {}


def _addresses(registers: Any, n: int) -> Any:
    if registers in ("", None):
        return np.arange(n)
    try:
        given = ast.literal_eval(registers) if isinstance(registers, str) else registers
        found = np.atleast_1d(np.asarray(given, np.int64))
    except (ValueError, SyntaxError, TypeError, OverflowError) as error:
        raise ConfigError(f"{registers!r} is no register, nor a list of them.") from error
    if found.ndim != 1 or not found.size or found.min() < 0 or found.max() >= n:
        raise ConfigError(f"There is no register {registers!r}.", f"There are 0 to {n - 1}.")
    return found


def run_producer(arguments: argparse.Namespace, board: BoardLine, stop: threading.Event) -> None:
    """Be the producer until `stop`."""
    if arguments.debug:
        logging.getLogger("forebay").setLevel(logging.DEBUG)
    Producer(arguments, board).run(stop)
