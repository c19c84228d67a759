"""The scripts of larpix-daq: one command each, with the original's arguments."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import argparse
    import threading

    from forebay.event import Event
    from forebay.ports import Sink
    from forebay.service.larpix_producer import BoardLine

_FAKE_CHIPS = tuple((1, chip) for chip in (246, 245, 252, 243))
_TURN_S = 0.02
_DRAIN_S = 5.0


class FakeIO:
    """A simulated board in the producer's process; data come as time goes on."""

    _io_group = 1

    def __init__(self, rate_hz: float) -> None:
        from forebay.sim.larpix import BoardOptions, SimulatedBoard

        options = BoardOptions(asic_version="1", chips=_FAKE_CHIPS, rate_hz=rate_hz)
        self._board = SimulatedBoard(options, time.time())
        self._n_blocks = 0
        self.chips = chip_keys([self._io_group])

    def read(self, timeout: float) -> Sequence[Event]:
        """See `BoardLine`."""
        from forebay.service.larpix_flow import event_of

        time.sleep(min(timeout, _TURN_S))
        messages = self._board.messages(time.time())
        if not messages:
            return ()
        self._n_blocks += 1
        return [event_of(messages, self._io_group, self._n_blocks - 1)]

    def drain(self, sink: Sink) -> None:
        """See `BoardLine`; nothing is on its way."""
        sink.write(self.read(0))

    def send(self, io_group: int, io_channel: int, words: Any) -> None:
        """See `BoardLine`."""
        from forebay.wire.pacman import REQUEST, Command, encode_commands

        if io_group != self._io_group:
            return  # nobody is there
        commands = [Command("D", channel=io_channel, word=int(word)) for word in words]
        self._board.answer(encode_commands(REQUEST, int(time.time()), commands), time.time())

    def close(self) -> None:
        """See `BoardLine`."""


class PacmanIO:
    """PACMAN boards with chips of version 1."""

    def __init__(self, texts: Sequence[str]) -> None:
        from forebay.cli.larpix import parse_board
        from forebay.stream.pacman import PacmanCommands, PacmanInlet

        boards = [parse_board(text if "/" in text else f"{text}/1") for text in texts]
        self.chips = chip_keys([board.io_group for board in boards])
        self._inlet = PacmanInlet(boards)
        self._commands = {board.io_group: PacmanCommands(board.command) for board in boards}

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `BoardLine`."""
        return self._inlet.read(timeout)

    def drain(self, sink: Sink) -> None:
        """See `BoardLine`: all of the second in which this is called, by the clocks of the boards."""
        from forebay.service.larpix_record import drain

        drain(self._inlet, [sink], int(time.time()), _DRAIN_S)

    def send(self, io_group: int, io_channel: int, words: Any) -> None:
        """See `BoardLine`."""
        from forebay.errors import ConfigError

        if io_group not in self._commands:
            raise ConfigError(f"There is no board of io group {io_group}.", f"There are {[*self._commands]}.")
        self._commands[io_group].send(io_channel, words)

    def close(self) -> None:
        """See `BoardLine`."""
        self._inlet.close()
        for commands in self._commands.values():
            commands.close()


def chip_keys(io_groups: Sequence[int]) -> list[str]:
    """Return the chips of each io group where no configuration of a board names them."""
    return [f"{group}-{channel}-{chip}" for group in io_groups for channel, chip in _FAKE_CHIPS]


def board_of(arguments: argparse.Namespace) -> BoardLine:
    """Return the board that the arguments name; `ConfigError` if there is none of that kind."""
    from forebay.errors import ConfigError

    name, *more = ["FakeIO"] if arguments.fake else arguments.io_config
    if name == "FakeIO" and not more:
        return FakeIO(arguments.rate)
    if name == "PACMAN_IO" and more:
        return PacmanIO(more)
    raise ConfigError(
        f"There is no board of {' '.join([name, *more])!r}.",
        "Give FakeIO, or PACMAN_IO GROUP=HOST[:PORT]...; ZMQ_IO and MultiZMQ_IO are of another server.",
    )


def _run(script: str, arguments: argparse.Namespace, stop: threading.Event) -> None:
    if script == "core":
        from forebay.service.larpix_conductor import run_conductor

        run_conductor(arguments, stop)
    elif script == "producer":
        from forebay.service.larpix_producer import run_producer

        run_producer(arguments, board_of(arguments), stop)
    elif script == "aggregator":
        from forebay.service.larpix_aggregator import run_aggregator

        run_aggregator(arguments, stop)
    elif script == "offline_storage":
        from forebay.service.larpix_storage import run_storage

        run_storage(arguments, stop)
    elif script == "log":
        from forebay.service.larpix_log import run_log

        run_log(arguments, stop)
    else:
        from forebay.service.larpix_monitor import run_monitor

        run_monitor(arguments, "Run data" if script == "run_data" else "Online monitor", stop)


def run_script(script: str, words: Sequence[str] | None = None) -> NoReturn:
    """Run one of the scripts: exit code 0 after a signal, 1 for an error, 2 for wrong arguments."""
    from forebay.front.larpix.arguments import parse
    from forebay.service.process import service_life

    arguments = parse(script, words)
    with service_life(f"larpixdaq-{script.replace('_', '-')}", None) as stop:
        _run(script, arguments, stop)
    sys.exit(0)


def conductor() -> NoReturn:
    """Run ``larpixdaq-core``."""
    run_script("core")


def producer() -> NoReturn:
    """Run ``larpixdaq-producer``."""
    run_script("producer")


def aggregator() -> NoReturn:
    """Run ``larpixdaq-aggregator``."""
    run_script("aggregator")


def offline_storage() -> NoReturn:
    """Run ``larpixdaq-offline-storage``."""
    run_script("offline_storage")


def online_monitor() -> NoReturn:
    """Run ``larpixdaq-online-monitor``."""
    run_script("online_monitor")


def run_data() -> NoReturn:
    """Run ``larpixdaq-run-data``, as the README calls the monitor."""
    run_script("run_data")


def log() -> NoReturn:
    """Run ``larpixdaq-log``."""
    run_script("log")


if __name__ == "__main__":
    run_script(sys.argv[1], sys.argv[2:])
