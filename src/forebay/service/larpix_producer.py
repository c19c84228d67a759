"""The producer of larpix-daq: words of a board as packet blocks, between the marks of a run; its actions."""

from __future__ import annotations

import argparse
import ast
import logging
import threading
import time
from collections.abc import Sequence
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
from forebay.stream.xylem import DataOut
from forebay.wire.larpix import block
from forebay.wire.larpix.configure import read_words, registers_read, write_words
from forebay.wire.pacman_batch import messages_of
from forebay.wire.xylem import BEGINNING, ENDING, Data, Info

BLOCK_PACKETS: Final = 20_000
"""Packets of one DATA message at most."""

_ANSWER_S = 1.0
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
    "abort_routine",
    "sleep",
)


class BoardLine(Protocol):
    """Boards, real or not, that speak in PACMAN messages."""

    chips: list[str]

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return blocks of messages, as `forebay.ports.Source`."""
        ...

    def drain(self, sink: Sink) -> None:
        """Write what the boards had sent by now, also what is on its way."""
        ...

    def send(self, io_group: int, io_channel: int, words: Any) -> None:
        """Send words to chips."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


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
            "LArPix board",
            "BOARD",
            home_address(arguments),
            arguments.log_address,
            addresses={"BOARD": arguments.address},
            actions={name: getattr(self, name) for name in _ACTIONS},
        )
        self._board = board
        self._chips = Chips(read_boards(Path(arguments.boards) if arguments.boards else None, board.chips))
        self._routines = load_routines(Path(arguments.routines) if arguments.routines else None)
        self._running: RunningRoutine | None = None
        self._reply = self.component.reply
        self._sleep_until: float | None = None
        self._sequence = 0
        self.n_packets = self.n_messages = 0

    # The run

    def enter(self, state: str, run: int | None) -> dict[str, Any] | None:
        """Mark the run's begin and end in the flow of data."""
        if state == "RUN":
            self._board.read(0)  # of no run
            self.n_packets = self.n_messages = 0
            self._info(BEGINNING, run=run)
            self._is_running = True
        elif self._is_running:
            self._board.drain(self)
            self._is_running = False
            self._info(ENDING, run=run, packets=self.n_packets, messages=self.n_messages)
        else:
            return {}
        return {"packets_sent": self.n_packets, "messages_sent": self.n_messages}

    _is_running = False

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _info(self, text: str, **more: Any) -> None:
        self._out.send(Info(time.time(), self.name, text, {**more, "sequence": self._next()}))

    def write(self, events: Sequence[Event]) -> None:
        """Publish words of chips; outside of a run they are of no interest."""
        if not self._is_running or not events:
            return
        records = np.concatenate([records_of(messages_of(event)) for event in events])
        for start in range(0, len(records), BLOCK_PACKETS):
            some = records[start : start + BLOCK_PACKETS]
            header = {"name": self.name, "timestamp": time.time(), "sequence": self._next()}
            self._out.send(Data(header, block.encode(some)))
            self.n_packets += len(some)
            self.n_messages += 1

    def turn(self) -> None:
        """Publish what has come; look after the routine."""
        self.write(self._board.read(TURN_S) or ())
        if self._running is not None and (done := self._running.poll()) is not None:
            self._running = None
            self._reply(done[0])
        if self._sleep_until is not None and time.monotonic() >= self._sleep_until:
            self._sleep_until = None
            self._reply("success")

    def close(self) -> None:
        """See `Part`."""
        if self._running is not None:
            self._running.abort()
        if self._is_running:
            self.write(self._board.read(0) or ())
            self._info(ENDING, packets=self.n_packets, messages=self.n_messages)
        super().close()
        self._out.close()
        self._board.close()

    # Actions

    def write_config(self, key: str, registers: Any = "") -> str:
        """write_config(key, registers=''): send a chip its configuration, or some registers of it."""
        group, channel, chip = self._chips.place(key)
        values = self._chips.registers(key)
        addresses = _addresses(registers, len(values))
        self._board.send(group, channel, write_words("1", chip, addresses, values[addresses]))
        return "success"

    def _read(self, key: str, registers: Any) -> dict[int, int]:
        group, channel, chip = self._chips.place(key)
        wanted = _addresses(registers, len(self._chips.registers(key)))
        self._board.send(group, channel, read_words("1", chip, wanted))
        found: dict[int, int] = {}
        end = time.monotonic() + _ANSWER_S
        while len(found) < len(wanted) and time.monotonic() < end:
            events = self._board.read(TURN_S) or ()
            self.write(events)
            for records in (records_of(messages_of(event)) for event in events):
                own = records[(records["io_group"] == group) & (records["io_channel"] == channel)]
                chips, addresses, values = registers_read(block.values_of(own), "1")
                mine = chips == chip
                found |= dict(zip(addresses[mine].tolist(), values[mine].tolist(), strict=True))
        return found

    def read_config(self, key: str, registers: Any = "") -> str:
        """read_config(key, registers=''): read registers of a chip, one line each."""
        found = self._read(key, registers)
        lines = [f"{key} register {a} ({self._chips.name_of(a)}): {value}" for a, value in found.items()]
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
            {"name": name, "params": [{"name": one, "type": "input"} for one in routine.params]}
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
