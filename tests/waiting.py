"""Waiting for what other threads bring about."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.01
_N_TRIES = 6000


def until(condition: Callable[[], T], what: str = "it") -> T:
    """Return the first value of `condition` that is true; AssertionError if none comes in a minute or so."""
    pause = threading.Event()
    for _ in range(_N_TRIES):
        if value := condition():
            return value
        pause.wait(_PAUSE_S)
    raise AssertionError(f"{what} did not come about")
