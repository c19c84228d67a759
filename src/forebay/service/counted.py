"""Telling the supervisor what a service has counted, so that it is in its status and in the metrics."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from forebay.service.process import notify

PERIOD_S = 1.0


@contextmanager
def counted(counters: Callable[[], Mapping[str, object]]) -> Iterator[None]:
    """Tell the counters every `PERIOD_S` while the body runs, and at its end; numbers only.

    Parameters
    ----------
    counters:
        Asked in a thread of its own.
    """
    over = threading.Event()
    told: dict[str, object] = {}

    def tell() -> None:
        nonlocal told
        now = {name: value for name, value in counters().items() if type(value) in (int, float)}
        if now != told:
            notify(f"COUNTERS={json.dumps(now)}")
            told = now

    def keep_telling() -> None:
        while not over.wait(PERIOD_S):
            tell()

    if "NOTIFY_SOCKET" not in os.environ:
        yield
        return
    thread = threading.Thread(target=keep_telling, name="counted", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tell()
