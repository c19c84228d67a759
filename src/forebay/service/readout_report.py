"""What the daemons of SSDAQ log of their work, and that SIGHUP ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from forebay.service.process import say

_REPORT_S = 10.0


def say_end(status: dict[str, Any]) -> None:
    """Log what an assembler did in its life."""
    builder, receiver = status["builder"], status["receiver"]
    lost = {name: builder[name] for name in ("late", "duplicate", "implausible", "evicted")}
    lost |= {name: receiver[name] for name in ("malformed", "foreign", "kernel_drop")}
    say(
        "assembled",
        readouts=builder["readouts"],
        incomplete=builder["incomplete_readouts"],
        **{name: n for name, n in lost.items() if n},
    )


@contextmanager
def hangup_stops() -> Iterator[None]:
    """Take SIGHUP for SIGTERM, as the original's writer does."""
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def reporting(status: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Log what happened every few seconds, if anything did."""
    is_over = threading.Event()

    def report() -> None:
        before, since = status(), time.monotonic()
        while not is_over.wait(_REPORT_S):
            now, at = status(), time.monotonic()
            n = now["builder"]["readouts"] - before["builder"]["readouts"]
            if now["receiver"] != before["receiver"]:
                say(
                    "assembling",
                    readouts=now["builder"]["readouts"],
                    rate_hz=n / (at - since),
                    open=now["open"],
                    newest_ns=now["newest_time_ns"],
                    kernel_drop=now["receiver"]["kernel_drop"],
                )
            before, since = now, at

    thread = threading.Thread(target=report, name="report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
