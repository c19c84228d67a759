"""A signal stops a service whichever of its threads the kernel chooses for it."""

import signal
import threading

import pytest

from forebay.config import parse
from forebay.service.assemble import assemble
from forebay.service.process import stop_on_signal

pytestmark = pytest.mark.flow


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signal_hits_the_thread_that_waits_for_it(number):
    with stop_on_signal() as stop:
        (thread,) = [one for one in threading.enumerate() if one.name == "stop"]
        signal.pthread_kill(thread.ident, number)
        assert stop.wait(10)


def test_a_service_that_waits_for_another_may_be_stopped(tmp_path_factory):
    """Stopped in the middle of a start: the ring that it waits for never comes."""
    config = parse(
        {"detectors": {"jf": {"type": "jungfrau"}}, "runtime_dir": tmp_path_factory.mktemp("r")}, "test"
    )
    stop = threading.Event()
    stop.set()
    assemble(config, "jf", stop)  # raises where it waited to its end
