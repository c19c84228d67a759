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


class FakeIO:
    """Simulated boards in the producer's process; data come as time goes on."""

    def __init__(self, asic_versions: dict[int, str], rate_hz: float, faults: Sequence[str] = ()) -> None:
        from forebay.service.larpix_lines import chip_keys
        from forebay.sim.larpix import BoardOptions, SimulatedBoard
        from forebay.sim.larpix_faults import parse_faults
        from forebay.wire.pacman_account import BoardAccount

        def board(io_group: int, version: str) -> SimulatedBoard:
            options = BoardOptions(
                io_group, version, _FAKE_CHIPS, rate_hz, seed=io_group, faults=parse_faults(faults)
            )
            return SimulatedBoard(options, time.time())

        self.asic_versions = asic_versions
        self.chips = chip_keys([*asic_versions])
        self._boards = {group: board(group, version) for group, version in asic_versions.items()}
        self._accounts = {group: BoardAccount() for group in asic_versions}
        self._n_blocks = dict.fromkeys(asic_versions, 0)
        self._n_sent = dict.fromkeys(asic_versions, 0)

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """See `BoardLine`."""
        return {
            f"io_group_{group}": {**account.counters, "words_to_chips": self._n_sent[group]}
            for group, account in self._accounts.items()
        }

    def read(self, timeout: float) -> Sequence[Event]:
        """See `BoardLine`."""
        time.sleep(min(timeout, _TURN_S))
        return [event for group in self._boards if (event := self._block(group)) is not None]

    def _block(self, io_group: int) -> Event | None:
        from forebay.service.larpix_flow import event_of
        from forebay.wire.pacman_batch import messages_of

        board = self._boards[io_group]
        messages = board.messages(time.time())
        if not messages:
            return None
        event = event_of(messages, io_group, self._n_blocks[io_group], self.asic_versions[io_group])
        self._accounts[io_group].add(messages_of(event).batch, board.word_format)
        self._n_blocks[io_group] += 1
        return event

    def drain(self, sink: Sink) -> dict[str, Any]:
        """See `BoardLine`; nothing is on its way."""
        sink.write(self.read(0))
        return {}

    def send(self, io_group: int, io_channel: int, words: Any) -> None:
        """See `BoardLine`."""
        from forebay.errors import ConfigError
        from forebay.wire.pacman import REQUEST, Command, encode_commands

        if io_group not in self._boards:
            raise ConfigError(f"There is no board of io group {io_group}.", f"There are {[*self._boards]}.")
        commands = [Command("D", channel=io_channel, word=int(word)) for word in words]
        self._boards[io_group].answer(encode_commands(REQUEST, int(time.time()), commands), time.time())
        self._n_sent[io_group] += len(commands)

    def close(self) -> None:
        """See `BoardLine`."""


def board_of(arguments: argparse.Namespace) -> BoardLine:
    """Return the boards that the arguments name; `ConfigError` if there are none of that kind."""
    from forebay.errors import ConfigError
    from forebay.service.larpix_lines import CLASSES, NetworkBoards, addresses_of

    name, *more = arguments.io_config or ["FakeIO"]
    if name.endswith(".json") and not more:
        name, more = "ZMQ_IO", [name]  # as scripts of the README's generation have it
    if name == "FakeIO":
        return FakeIO(_fake_boards(more), arguments.rate, arguments.fault)
    if name in CLASSES:
        return NetworkBoards(*addresses_of(name, more))
    raise ConfigError(f"There is no class {name!r} of boards.", f"There are FakeIO, {', '.join(CLASSES)}.")


def _fake_boards(words: Sequence[str]) -> dict[int, str]:
    from forebay.errors import ConfigError
    from forebay.wire.larpix.word import format_of

    found: dict[int, str] = {}
    for word in words or ["1"]:
        group, _, version = word.partition("/")
        if not group.isdecimal() or not 0 < int(group) < 255 or int(group) in found:
            raise ConfigError(f"{word!r} is no simulated board.", "Write GROUP[/ASIC] of each, e.g. 1 2/2b.")
        format_of(version or "1")
        found[int(group)] = version or "1"
    return found


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
