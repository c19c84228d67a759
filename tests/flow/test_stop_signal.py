"""A signal stops a service whichever of its threads the kernel chooses for it."""

import signal
import threading

import pytest

from forebay.config import parse
from forebay.service.assemble import assemble
from forebay.service.buffer import buffer
from forebay.service.live import live
from forebay.service.process import stop_on_signal
from forebay.service.publish import publish

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


@pytest.mark.parametrize("service", [live, publish, buffer])
def test_who_follows_a_ring_that_never_comes_may_be_stopped(tmp_path_factory, service):
    endpoint = f"ipc://{tmp_path_factory.mktemp('s')}/s"
    detector = {
        "type": "jungfrau",
        "live": {"endpoint": endpoint},
        "streams": [{"endpoint": endpoint}],
        "buffer": {"directory": tmp_path_factory.mktemp("b"), "max_bytes": 2**30},
    }
    config = parse({"detectors": {"jf": detector}, "runtime_dir": tmp_path_factory.mktemp("r")}, "test")
    stop = threading.Event()
    stop.set()
    service(config, "jf", stop)
