"""Boards of larpix-daq's producer by the words of ``--io-config``: PACMAN boards and Bern data servers."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from forebay.errors import ConfigError
from forebay.event import Event
from forebay.ports import Sink
from forebay.service.larpix_record import drain
from forebay.stream.dataserver import ServerCommands
from forebay.stream.pacman import COMMAND_PORT, BoardAddress, PacmanCommands, PacmanInlet
from forebay.wire.larpix.word import format_of

CLASSES: Final = {"PACMAN_IO": "2", "ZMQ_IO": "1", "MultiZMQ_IO": "1"}
"""Classes of larpix-control for boards, and the version of their chips where nothing else is said."""

_SERVERS: Final = ("ZMQ_IO", "MultiZMQ_IO")
_CHIPS: Final = ((1, 246), (1, 245), (1, 252), (1, 243))
_DRAIN_S: Final = 5.0
_CONNECT_S: Final = 2.0
_HOW: Final = 'Write {"_config_type": "io", "io_class": "ZMQ_IO", "io_group": [[1, "HOST"]]} into it.'


def chip_keys(io_groups: Sequence[int]) -> list[str]:
    """Return the chips of each io group where no configuration of a board names them."""
    return [f"{group}-{channel}-{chip}" for group in io_groups for channel, chip in _CHIPS]


def parse_board(text: str, asic_version: str = "2", *, is_server: bool = False) -> BoardAddress:
    """Return the address of a board written as ``GROUP=HOST[:PORT][/ASIC]``; `ConfigError` if it is none."""
    group, equals, rest = text.partition("=")
    place, _, asic = rest.partition("/")
    host, colon, port_text = place.rpartition(":")
    if not colon:
        host, port_text = place, str(COMMAND_PORT)
    if not equals or not group.isdecimal() or not 0 < int(group) < 255:
        raise ConfigError(f"{text!r} does not begin with an io group.", "Write 1=..., io groups 1 to 254.")
    if not host or not port_text.isdecimal() or not 0 < int(port_text) < 65535:
        raise ConfigError(f"{text!r} is not the address of a board.", "Write GROUP=HOST[:PORT][/ASIC].")
    format_of(asic or asic_version)
    port = int(port_text)
    return BoardAddress(
        f"io_group_{int(group)}",
        int(group),
        asic or asic_version,
        f"tcp://{host}:{port + 1}",
        f"tcp://{host}:{port}",
        is_server,
    )


def read_io_config(path: Path, io_class: str) -> list[BoardAddress]:
    """Return the boards of an io configuration of larpix-control.

    A host may have a port, and an ``asic_version`` beside ``io_group`` is that of the chips.

    Raises
    ------
    ConfigError
        If it cannot be read, or is one of another class: that of ZMQ_IO is one of MultiZMQ_IO as well.
    """
    try:
        found = json.loads(path.read_text())
        kind, stated = found["_config_type"], found["io_class"]
        places = [f"{int(group)}={host}" for group, host in found["io_group"]]
        version = str(found.get("asic_version", CLASSES[io_class]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no io configuration: {error!r}.", _HOW) from error
    allowed = _SERVERS if io_class == "ZMQ_IO" else (io_class,)
    if kind != "io" or stated not in allowed:
        raise ConfigError(f"{path} is a configuration of {stated}, and asked is {io_class}.", _HOW)
    return [parse_board(place, version, is_server=io_class in _SERVERS) for place in places]


def _channels(text: str) -> dict[int, int]:
    try:
        given = ast.literal_eval(text)
        return {int(key): int(value) for key, value in (given or {}).items()}
    except (ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise ConfigError(f"{text!r} is no map of io channels.", "Write e.g. {1: 3, 2: 4}.") from error


def addresses_of(io_class: str, words: Sequence[str]) -> tuple[list[BoardAddress], dict[int, int]]:
    """Return the boards that the words behind a class name, and where words to their io channels go.

    Either ``GROUP=HOST[:PORT][/ASIC]`` of each, or what larpix-control has: a file, and for data servers the
    maps ``miso`` and ``mosi`` of io channels.

    Raises
    ------
    ConfigError
        If they name none.
    """
    is_server = io_class in _SERVERS
    if words and all("=" in word for word in words):
        boards = [parse_board(word, CLASSES[io_class], is_server=is_server) for word in words]
        maps: list[dict[int, int]] = []
    elif not 1 <= len(words) <= (3 if is_server else 1):
        raise ConfigError(f"{io_class} is not told where its boards are.", f"Name a file. {_HOW}")
    else:
        boards = read_io_config(Path(words[0].strip("'\"")), io_class)
        maps = [_channels(word) for word in words[1:]]
    if not boards or (io_class == "ZMQ_IO" and len(boards) > 1):
        raise ConfigError(f"ZMQ_IO is for one data server, not for {len(boards)}.", "Take MultiZMQ_IO.")
    if maps:
        boards = [_with_channels(board, maps[0]) for board in boards]
    return boards, maps[1] if len(maps) > 1 else {}


def _with_channels(board: BoardAddress, channels: Mapping[int, int]) -> BoardAddress:
    return BoardAddress(
        board.name, board.io_group, board.asic_version, board.data, board.command, True, channels
    )


class Commands(Protocol):
    """Where words to chips go."""

    def send(self, io_channel: int, words: Any) -> None:
        """Send words to the chips behind one io channel."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class NetworkBoards:
    """Boards on the network; see `forebay.service.larpix_producer.BoardLine`."""

    def __init__(self, boards: Sequence[BoardAddress], to_server: Mapping[int, int] | None = None) -> None:
        self.chips = chip_keys([board.io_group for board in boards])
        self.asic_versions = {board.io_group: board.asic_version for board in boards}
        self._names = {board.io_group: board.name for board in boards}
        self._inlet = PacmanInlet(boards)
        self._commands = {board.io_group: _commands(board, to_server or {}) for board in boards}
        self._n_sent = dict.fromkeys(self._commands, 0)

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """See `BoardLine`; ``words_to_chips`` are those that we sent."""
        sent = {self._names[group]: n for group, n in self._n_sent.items()}
        return {name: {**own, "words_to_chips": sent[name]} for name, own in self._inlet.counters.items()}

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `BoardLine`."""
        return self._inlet.read(timeout)

    def drain(self, sink: Sink) -> dict[str, Any]:
        """See `BoardLine`: all of the second in which this is called, by the clocks of the boards.

        ``words_behind`` are of later seconds, and not of the run; ``late_boards`` were still sending of
        earlier ones when the patience ended: their clocks are wrong.
        """
        drained = drain(self._inlet, [sink], int(time.time()), _DRAIN_S)
        return {"words_behind": drained.n_behind, "late_boards": list(drained.late)}

    def send(self, io_group: int, io_channel: int, words: Any) -> None:
        """See `BoardLine`."""
        if io_group not in self._commands:
            raise ConfigError(f"There is no board of io group {io_group}.", f"There are {[*self._commands]}.")
        self._inlet.wait_for(self._names[io_group], _CONNECT_S)  # what chips answer comes with the data
        self._commands[io_group].send(io_channel, words)
        self._n_sent[io_group] += len(words)

    def close(self) -> None:
        """See `BoardLine`."""
        self._inlet.close()
        for commands in self._commands.values():
            commands.close()


def _commands(board: BoardAddress, to_server: Mapping[int, int]) -> Commands:
    if board.is_server:
        return ServerCommands(board.command, format_of(board.asic_version), to_server)
    return PacmanCommands(board.command)
