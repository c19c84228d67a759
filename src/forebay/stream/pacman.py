"""PACMAN boards on the network: data of many boards come in together, commands go out one board at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from forebay.errors import StreamError, WireError
from forebay.event import Event
from forebay.stream.endpoint import check, not_connected
from forebay.stream.request import RequestLine
from forebay.wire.larpix.dataserver import Translator
from forebay.wire.larpix.word import format_of
from forebay.wire.pacman import (
    HEADER_BYTES,
    MAX_WORDS,
    REPLY,
    REQUEST,
    WORD,
    Command,
    decode,
    decode_commands,
    encode_commands,
)
from forebay.wire.pacman_account import COUNTERS, BoardAccount
from forebay.wire.pacman_batch import PacmanArrays

COMMAND_PORT: Final = 5555
DATA_PORT: Final = 5556
ECHO_PORT: Final = 5554

HWM: Final = 1_000_000
"""Messages of each board that may wait here: 10 s of 100 000 a second. A board drops what does not fit."""

MAX_MESSAGE_BYTES: Final = HEADER_BYTES + MAX_WORDS * WORD.itemsize
_MOST = 50_000  # messages of one board in one block
_DONTWAIT = int(zmq.DONTWAIT)
_NO_MODULES = np.zeros(0, np.uint32)

LINK_COUNTERS: Final = ("connections", "disconnections", "full_queues")
"""How often a board was reached, and was lost: what it sends in between is lost. And how often as many
messages came one behind the other as may wait: the queue was full, perhaps, and then boards drop messages.
"""


@dataclass(frozen=True)
class BoardAddress:
    """Where a board is.

    Attributes
    ----------
    name:
        For events and counters.
    io_group, asic_version:
        Of the chips behind it.
    data, command:
        Endpoints, ``tcp://HOST:PORT``.
    is_server:
        Whether a Bern data server is there, and no PACMAN board.
    from_server:
        Io channel of such a server -> that of the chips, where they differ.
    """

    name: str
    io_group: int
    asic_version: str
    data: str
    command: str
    is_server: bool = False
    from_server: Mapping[int, int] = field(default_factory=dict)


def board_at(name: str, host: str, io_group: int, asic_version: str = "2") -> BoardAddress:
    """Return the address of a board at the ports that boards have."""
    return BoardAddress(
        name, io_group, asic_version, f"tcp://{host}:{DATA_PORT}", f"tcp://{host}:{COMMAND_PORT}"
    )


class _Link:
    """The data socket of one board."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: BoardAddress, hwm: int) -> None:
        check(address.data, binds=False, public=True)
        self.address = address
        self.word_format = format_of(address.asic_version)
        self.translator = Translator(self.word_format, address.from_server) if address.is_server else None
        self.account = BoardAccount()
        self.links = dict.fromkeys(LINK_COUNTERS, 0)
        self.n_blocks = 0
        self.last_second = 0
        self._hwm, self._n_waited = hwm, 0
        self.socket = context.socket(zmq.SUB)
        self.socket.set_hwm(hwm)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        try:
            self.socket.connect(address.data)
        except zmq.ZMQError as error:
            self.close()
            raise not_connected(address.data, error) from error

    def counters(self) -> dict[str, int]:
        """Return what was counted, of messages and of the connection."""
        counters = {**self.account.counters, **self.links}
        if self.translator is not None:
            counters |= {"times": self.translator.n_times, "heartbeats": self.translator.n_heartbeats}
        return counters

    def watch(self) -> None:
        """Count what happened to the connection."""
        while self.monitor.poll(0):
            event = recv_monitor_message(self.monitor)["event"]
            is_there = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self.links["connections" if is_there else "disconnections"] += 1

    def take(self) -> Event | None:
        """Return all that has come as one block, or None."""
        messages: list[bytes] = []
        receive, append = self.socket.recv, messages.append
        try:
            for _ in range(_MOST):
                append(receive(_DONTWAIT))
            is_empty = False
        except zmq.Again:
            is_empty = True
        self._n_waited += len(messages)
        if self._n_waited >= self._hwm > 0:
            self.links["full_queues"] += 1
            is_empty = True
        if is_empty:
            self._n_waited = 0
        if not messages:
            return None
        if self.translator is not None:
            messages = self.translator.translate(messages, time.time())
            if not messages:
                return None
        lengths = np.fromiter(map(len, messages), np.uint32, len(messages))
        address = self.address
        arrays = PacmanArrays(b"".join(messages), lengths, address.io_group, address.asic_version)
        self.account.add(arrays.batch, self.word_format)
        if arrays.batch.n_messages:
            self.last_second = int(arrays.batch.seconds[-1])
        event = Event(address.name, self.n_blocks, time.time_ns(), arrays, _NO_MODULES)
        self.n_blocks += 1
        return event

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


class PacmanInlet:
    """A source of blocks of messages from many boards; connects, and again for ever.

    An event is what came from one board since the last time, in the order of arrival; its pulse id counts
    the blocks of that board. Nothing that a board sends does harm: what is no message is counted.

    Parameters
    ----------
    boards:
        Each with a name of its own.
    hwm:
        Messages of each board that may wait.
    block_s:
        `read` waits until this long after the last block, so that blocks are large.

    Raises
    ------
    StreamError
        If an endpoint is malformed or two boards have one name.
    forebay.errors.ConfigError
        If there are no chips of such a version.
    """

    def __init__(self, boards: Sequence[BoardAddress], *, hwm: int = HWM, block_s: float = 0.05) -> None:
        names = [board.name for board in boards]
        if len(set(names)) < len(names) or not names:
            raise StreamError(f"The boards {names} have not each a name of their own.", "Name each board.")
        self._block_s = block_s
        self._last = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._links: list[_Link] = []
        self._poller = zmq.Poller()
        try:
            for board in boards:
                self._links.append(_Link(self._context, board, hwm))
                self._poller.register(self._links[-1].socket, zmq.POLLIN)
        except Exception:
            self.close()
            raise

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """Board -> counters, as `COUNTERS` and `LINK_COUNTERS`."""
        return {link.address.name: link.counters() for link in self._links}

    @property
    def last_seconds(self) -> dict[str, int]:
        """Board -> time in its newest message, unix seconds; 0 before the first."""
        return {link.address.name: link.last_second for link in self._links}

    def wait_for(self, name: str, timeout: float) -> None:
        """Return when data of a board can come, e.g. what its chips answer.

        Raises
        ------
        StreamError
            If it is not reached within `timeout` seconds.
        """
        link = next(one for one in self._links if one.address.name == name)
        end = time.monotonic() + timeout
        while link.links["connections"] <= link.links["disconnections"]:
            if time.monotonic() > end:
                what = f"{name} does not send at {link.address.data}: nobody answers there."
                raise StreamError(what, "Check its power, its address and the network.")
            link.monitor.poll(10)
            link.watch()

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return a block for each board of which something came; see `forebay.ports.Source`."""
        if self._context.closed:
            return None
        wait = self._last + self._block_s - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, timeout))
        if not self._poller.poll(int(max(timeout - max(wait, 0), 0) * 1000)):
            for link in self._links:
                link.watch()
            return ()
        self._last = time.monotonic()
        events = []
        for link in self._links:
            link.watch()
            if (event := link.take()) is not None:
                events.append(event)
        return events

    def close(self) -> None:
        """Disconnect; may be called twice."""
        if self._context.closed:
            return
        for link in self._links:
            link.close()
        self._context.term()


class PacmanCommands:
    """Requests to one board, each with its own answer: one that comes too late is taken for no other.

    Raises
    ------
    StreamError
        From every method, if the board does not answer in time or answers with an error.
    """

    def __init__(self, endpoint: str, timeout: float = 2.0) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._line = RequestLine(endpoint)

    def ask(self, commands: Sequence[Command]) -> list[Command]:
        """Send commands in one request and return the answers, one each."""
        answer = self._line.ask(encode_commands(REQUEST, int(time.time()), commands), self._timeout)
        if answer is None:
            raise StreamError(
                f"The board at {self.endpoint} did not answer within {self._timeout:g} s.",
                "Check its power, its address and the network.",
            )
        try:
            reply = decode(answer)
            answers = decode_commands(reply)
        except WireError as error:
            raise StreamError(f"The board at {self.endpoint} answers something else: {error}") from error
        if reply.kind != REPLY or len(answers) != len(commands):
            raise StreamError(
                f"The board at {self.endpoint} gives {len(answers)} answers to {len(commands)} commands."
            )
        for command, given in zip(commands, answers, strict=True):
            if given.kind == "E":
                text = given.text.rstrip(b"\0").decode(errors="replace")
                raise StreamError(f"The board at {self.endpoint} refuses {command}: {given.code} {text}.")
        return answers

    def ping(self) -> None:
        """Return when the board answers."""
        self.ask([Command("P")])

    def read(self, register: int) -> int:
        """Return the value of a register of the board."""
        return self.ask([Command("R", register=register)])[0].value

    def write(self, register: int, value: int) -> None:
        """Write a register of the board."""
        self.ask([Command("W", register=register, value=value)])

    def send(self, io_channel: int, words: Any) -> None:
        """Send words to the chips behind one io channel; their answers come with the data."""
        self.ask([Command("D", channel=io_channel, word=int(word)) for word in words])

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._line.close()


__all__ = ["COUNTERS", "LINK_COUNTERS", "BoardAddress", "PacmanCommands", "PacmanInlet", "board_at"]
