"""The scripts of larpix-daq: one command each, with the original's arguments."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import argparse
    import threading

    from forebay.service.larpix_producer import BoardLine

_FAKE_CHIPS = tuple((1, chip) for chip in (246, 245, 252, 243))
_TURN_S = 0.02


class FakeIO:
    """A simulated board in the producer's process; data come as time goes on."""

    io_group = 1

    def __init__(self, rate_hz: float) -> None:
        from forebay.sim.larpix import BoardOptions, SimulatedBoard

        options = BoardOptions(asic_version="1", chips=_FAKE_CHIPS, rate_hz=rate_hz)
        self._board = SimulatedBoard(options, time.time())
        self.chips = [f"{self.io_group}-{channel}-{chip}" for channel, chip in _FAKE_CHIPS]

    def take(self, timeout: float) -> Sequence[bytes]:
        """See `BoardLine`."""
        time.sleep(min(timeout, _TURN_S))
        return self._board.messages(time.time())

    def send(self, io_channel: int, words: Any) -> None:
        """See `BoardLine`."""
        from forebay.wire.pacman import REQUEST, Command, encode_commands

        commands = [Command("D", channel=io_channel, word=int(word)) for word in words]
        self._board.answer(encode_commands(REQUEST, int(time.time()), commands), time.time())

    def close(self) -> None:
        """See `BoardLine`."""


class PacmanIO:
    """A PACMAN board with chips of version 1."""

    def __init__(self, text: str) -> None:
        from forebay.cli.larpix import parse_board
        from forebay.stream.pacman import PacmanCommands, PacmanInlet

        address = parse_board(text if "/" in text else f"{text}/1")
        self.io_group = address.io_group
        self.chips = [f"{self.io_group}-{channel}-{chip}" for channel, chip in _FAKE_CHIPS]
        self._inlet = PacmanInlet([address])
        self._commands = PacmanCommands(address.command)

    def take(self, timeout: float) -> Sequence[bytes]:
        """See `BoardLine`."""
        from forebay.wire.pacman_batch import messages_of

        return [one for event in self._inlet.read(timeout) or () for one in messages_of(event).messages()]

    def send(self, io_channel: int, words: Any) -> None:
        """See `BoardLine`."""
        self._commands.send(io_channel, words)

    def close(self) -> None:
        """See `BoardLine`."""
        self._inlet.close()
        self._commands.close()


def board_of(arguments: argparse.Namespace) -> BoardLine:
    """Return the board that the arguments name; `ConfigError` if there is none of that kind."""
    from forebay.errors import ConfigError

    name, *more = ["FakeIO"] if arguments.fake else arguments.io_config
    if name == "FakeIO" and not more:
        return FakeIO(arguments.rate)
    if name == "PACMAN_IO" and len(more) == 1:
        return PacmanIO(more[0])
    raise ConfigError(
        f"There is no board of {' '.join([name, *more])!r}.",
        "Give FakeIO, or PACMAN_IO GROUP=HOST[:PORT]; ZMQ_IO and MultiZMQ_IO are boards of another server.",
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
