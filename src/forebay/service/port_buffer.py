"""Saying that the kernel gave a socket less memory than was asked for."""

from __future__ import annotations

import logging

from forebay.assemble.receiver import Buffered
from forebay.service.process import say


def warn_if_small(buffer: Buffered) -> None:
    """Log what was asked, what was given and how to mend it, where it is less."""
    if buffer.given < buffer.asked:
        say(
            "socket buffer smaller than asked: bursts may be lost",
            logging.WARNING,
            asked=buffer.asked,
            given=buffer.given,
            mend=f"sysctl -w net.core.rmem_max={buffer.asked}",
        )
