"""A receiver tells once a second how it is, as those of SSDAQ 0.9 do."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from forebay.errors import ForebayError
from forebay.service.process import say
from forebay.stream.monitoring import MonitorSender
from forebay.wire import cdts

PERIOD_S = 1.0

Counts = Callable[[], tuple[int, Sequence[int]]]
"""Returns how much came so far, and from each module where there are modules."""


def monitor_message(
    name: str, before: tuple[int, Sequence[int]], now: tuple[int, Sequence[int]], passed_s: float
) -> bytes:
    """Return what a receiver says of the time between two counts."""
    sec, nsec = divmod(time.time_ns(), 10**9)
    n = now[0] - before[0]
    modules = [i for i, (old, new) in enumerate(zip(before[1], now[1], strict=False)) if new > old]
    receiver = {"name": name, "pid": os.getpid(), "recv_data": n > 0, "data_rate": n / passed_s}
    if modules:
        receiver["from_tm"] = modules
    return cdts.encode(cdts.MONITOR, {"time": {"sec": sec, "nsec": nsec}, "reciver": receiver})


@contextmanager
def monitored(name: str, endpoint: str, counts: Counts, period_s: float = PERIOD_S) -> Iterator[None]:
    """Tell every second while the body runs; nothing without an endpoint.

    Parameters
    ----------
    counts:
        Asked in a thread of its own.

    Raises
    ------
    StreamError
        If the endpoint is none.
    """
    if not endpoint:
        yield
        return
    sender = MonitorSender(endpoint)
    is_over = threading.Event()

    def tell() -> None:
        before, since = counts(), time.monotonic()
        try:
            while not is_over.wait(period_s):
                now, at = counts(), time.monotonic()
                sender.send(monitor_message(name, before, now, at - since))
                before, since = now, at
        except ForebayError as error:
            say("monitoring ended", logging.ERROR, reason=error)

    thread = threading.Thread(target=tell, name="monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        sender.close()
