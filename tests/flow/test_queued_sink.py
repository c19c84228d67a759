"""A slow sink in a thread of its own: nothing waits for it, nothing is lost unsaid."""

import threading

import numpy as np
import pytest

from forebay.errors import StoreError
from forebay.service.queued import QueuedSink
from forebay.wire import ssreadout

pytestmark = pytest.mark.flow


class Slow:
    """A sink that works when it is told to."""

    def __init__(self, failure=None):
        self.may_work = threading.Event()
        self.numbers = []
        self.n_closed = 0
        self.failure = failure

    def append(self, readouts):
        assert self.may_work.wait(30)
        if self.failure:
            raise self.failure
        self.numbers += readouts["number"].tolist()

    def close(self):
        self.n_closed += 1


def some(n, first):
    readouts = ssreadout.new(n)
    readouts["number"] = np.arange(first, first + n)
    return readouts


def test_everything_comes_in_order():
    slow = Slow()
    sink = QueuedSink(slow)
    for first in range(0, 100, 10):
        sink.append(some(10, first))
    assert slow.numbers == []  # nobody waited for it
    slow.may_work.set()
    sink.close()
    sink.close()
    assert slow.numbers == list(range(100))
    assert slow.n_closed == 1
    assert sink.counters == {"offered": 100, "taken": 100, "overflow": 0}


def test_what_finds_no_room_is_counted():
    slow = Slow()
    sink = QueuedSink(slow, most=30)
    for first in range(0, 200, 10):
        sink.append(some(10, first))
    slow.may_work.set()
    sink.close()
    counters = sink.counters
    assert counters["offered"] == 200 == counters["taken"] + counters["overflow"]
    assert len(slow.numbers) == counters["taken"] in (30, 40)  # one batch may have been taken out already


def test_a_sink_that_fails_says_so():
    slow = Slow(StoreError("The disk is full."))
    sink = QueuedSink(slow)
    slow.may_work.set()
    with pytest.raises(StoreError, match="full"):  # noqa: PT012 - whichever is the first to find out
        for first in range(10_000):
            sink.append(some(1, first))
        sink.close()
    sink._thread.join(30)
    assert slow.n_closed == 1


def test_what_failed_first_is_told_also_where_closing_fails_too():
    class Broken:
        def append(self, readouts):
            raise OSError("the disk is full")

        def close(self):
            raise RuntimeError("and so it cannot be closed")

    sink = QueuedSink(Broken())
    sink.append(some(1, 1))
    with pytest.raises(OSError, match="the disk is full"):
        sink.close()
    sink.close()  # said once
