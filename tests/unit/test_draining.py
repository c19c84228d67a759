"""What was on its way at a stop is taken, and a sender that never pauses is not waited for."""

import threading

import pytest

from forebay.service.draining import until_stopped

pytestmark = pytest.mark.unit


class Inlet:
    """Gives batches of these sizes, then nothing; sets `stop` before the batch `stop_at`."""

    def __init__(self, sizes, stop_at):
        self.stop = threading.Event()
        self._sizes = iter(sizes)
        self._left = stop_at

    def read(self, timeout):
        assert timeout >= 0
        if self._left == 0:
            self.stop.set()
        self._left -= 1
        return [0] * next(self._sizes, 0)


@pytest.mark.parametrize(
    ("sizes", "stop_at", "taken"),
    [
        ([], 0, []),
        ([3, 4], 5, [3, 4]),
        ([3, 0, 4], 2, [3, 4]),
        ([3, 4, 5, 0, 6], 1, [3, 4, 5]),  # the first pause after the stop is the end
        ([5] * 100, 0, [5] * 5),  # one before the stop is seen, then as many as make 20
    ],
)
def test_what_is_taken(sizes, stop_at, taken):
    inlet = Inlet(sizes, stop_at)
    batches = list(until_stopped(inlet.read, inlet.stop, drain_s=0.0, most=20))
    assert [len(one) for one in batches if one] == taken


def test_a_stop_before_the_beginning_takes_what_waits():
    inlet = Inlet([3, 4], 99)
    inlet.stop.set()
    assert [len(one) for one in until_stopped(inlet.read, inlet.stop, drain_s=0.0)] == [3, 4]
