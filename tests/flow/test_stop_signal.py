"""A signal stops a service whichever of its threads the kernel chooses for it."""

import signal
import threading

import pytest

from forebay.service.process import stop_on_signal

pytestmark = pytest.mark.flow


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signal_hits_the_thread_that_waits_for_it(number):
    with stop_on_signal() as stop:
        (thread,) = [one for one in threading.enumerate() if one.name == "stop"]
        signal.pthread_kill(thread.ident, number)
        assert stop.wait(10)
