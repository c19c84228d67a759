"""Sending over loopback in order."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one CPU: what each of them sends then arrives in order.

    The kernel queues what is sent over loopback on the CPU that sends it; a thread that moves to another
    one can overtake itself.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {random.choice(sorted(allowed))})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
