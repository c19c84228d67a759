"""A board on the network as long as nobody says stop: requests are answered, data go out as time goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from forebay.stream.pacman_board import BoardSockets


class Board(Protocol):
    """What is behind the sockets."""

    @property
    def is_done(self) -> bool:
        """Whether it will send nothing more."""
        ...

    def answer(self, request: bytes, now_s: float) -> bytes:
        """Return the reply to a request."""
        ...

    def messages(self, until_s: float) -> list[bytes]:
        """Return what is to be sent of the time up to now, unix seconds."""
        ...


def serve_board(
    make: Callable[[float], Board],
    sockets: BoardSockets,
    stop: Callable[[], bool],
    *,
    waits: bool = False,
    patience: float = 0.0,
    tick: float = 0.005,
) -> Board:
    """Run a board until `stop`; it goes on answering when it has nothing more to send.

    Parameters
    ----------
    make:
        Makes the board when it is switched on; given unix seconds.
    waits:
        Whether it is switched on only when somebody listens to its data.
    patience:
        Seconds to wait for a slow listener before messages are dropped; 0 is what real boards do.
    tick:
        Seconds between two looks at the time.
    """
    while waits and not stop() and sockets.listeners <= 0:
        sockets.publish(())
        time.sleep(tick)
    board = make(time.time())
    while not stop():
        request = sockets.request(tick)
        while request is not None:
            sockets.reply(board.answer(request, time.time()))
            request = sockets.request(0)
        if messages := board.messages(time.time()):
            sockets.publish(messages, patience)
    return board
