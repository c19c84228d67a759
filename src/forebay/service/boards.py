"""The boards service: a set of PACMAN boards read once, and their blocks for every process of this host."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from forebay.config import BoardConfig, BoardsConfig, Config
from forebay.errors import ConfigError
from forebay.event import Event
from forebay.service.account import telling
from forebay.service.counted import counted
from forebay.service.process import notify, say
from forebay.store.manifest import Counters
from forebay.stream.endpoint import ipc
from forebay.stream.pacman import COUNTERS, LINK_COUNTERS, BoardAddress, PacmanInlet
from forebay.stream.zmq import Publisher
from forebay.wire.pacman_batch import messages_of, pieces

HWM = 2000
"""Blocks that may wait for each reader of this host: of 16 boards 6 s, at 20 blocks a second each."""

MOST_BYTES = 4 * 2**20
"""Larger blocks are sent in pieces, because streams take no parts beyond 8 MiB."""


def boards_config(config: Config, name: str) -> BoardsConfig:
    """Return the configuration of a set of boards; `ConfigError` if there is none of that name."""
    if name not in config.boards:
        known = ", ".join(config.boards) or "none"
        raise ConfigError(f"The boards {name!r} are not configured.", f"Configured are: {known}.")
    return config.boards[name]


def block_stream(config: Config, name: str) -> str:
    """Return the endpoint at which the blocks of a set of boards are events for processes of this host."""
    return ipc(config.runtime_dir, f"{name}.blocks")


def account_of(config: Config, name: str) -> str:
    """Return the endpoint at which the service of these boards tells its counters."""
    return ipc(config.runtime_dir, f"{name}.account")


def account(inlet: PacmanInlet) -> Counters:
    """Return the counters of each board."""
    return Counters({board: dict(counted) for board, counted in inlet.counters.items()})


def boards(config: Config, name: str, stop: threading.Event) -> None:
    """Take what the boards `name` send until `stop`, and hand it on to whoever reads here.

    Boards are connected to once, however many read; one that is away is tried again for ever.

    Raises
    ------
    ConfigError
        If there are no such boards.
    StreamError
        If the endpoint is taken.
    """
    asked = boards_config(config, name)
    publisher = Publisher(block_stream(config, name), hwm=HWM)
    try:
        inlet = PacmanInlet([address_of(one) for one in asked.members])
        try:
            notify("READY=1")
            say("reading", boards=len(asked.members))
            numbered = Numbered()
            with (
                telling(account_of(config, name), lambda: account(inlet)),
                counted(lambda: _counters(inlet, publisher)),
            ):
                while not stop.is_set():
                    publisher.write(numbered.of(inlet.read(0.1) or ()))
                publisher.write(numbered.of(inlet.read(0) or ()))
            say("read", **_counters(inlet, publisher))
        finally:
            inlet.close()
    finally:
        publisher.close()


def address_of(board: BoardConfig) -> BoardAddress:
    """Return where a board is."""
    data, command = (f"tcp://{board.host}:{port}" for port in (board.port + 1, board.port))
    return BoardAddress(board.name, board.io_group, board.asic, data, command, board.server)


class Numbered:
    """Numbers the blocks of each board from 0, those that are cut into pieces too."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def of(self, events: Sequence[Event]) -> list[Event]:
        """Return blocks of at most `MOST_BYTES` (or one message), each with the next number of its board."""
        found = []
        for event in events:
            for arrays in pieces(messages_of(event), MOST_BYTES):
                number = self._next.get(event.source, 0)
                self._next[event.source] = number + 1
                found.append(Event(event.source, number, event.time_ns, arrays, event.missing_packets))
        return found


def _counters(inlet: PacmanInlet, publisher: Publisher) -> dict[str, int]:
    """Return what all boards have together, the words of each, and the counters of the stream."""
    of_boards: Mapping[str, Mapping[str, int]] = inlet.counters
    told = {key: sum(one[key] for one in of_boards.values()) for key in (*COUNTERS, *LINK_COUNTERS)}
    told |= {f"{board}_words": one["words"] for board, one in of_boards.items()}
    return told | {f"stream_{key}": value for key, value in publisher.counters.items()}
