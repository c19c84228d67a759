"""`close()` of SSDAQ's listeners and writers in every state: it ends, and nobody hangs."""

import queue
import socket
import threading
from contextlib import closing, suppress

import numpy as np
import pytest
from tests.ports import free_ports

from forebay.front.ssdaq import SSFileWriter, SSReadout, SSReadoutListener, ZMQReadoutPublisher
from forebay.front.ssdaq.subscribers import BasicSSReadoutSubscriber, BasicSubscriber

pytestmark = pytest.mark.flow

LIMIT_S = 60  # who hangs, hangs longer; on a busy machine it takes long to write what a flood left
KINDS = [SSReadoutListener, BasicSSReadoutSubscriber, BasicSubscriber]


def ends(work):
    """Run in a thread, and return whether it ended."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    return not thread.is_alive()


def readout(number):
    return SSReadout(number * 10, number, np.zeros((32, 64)), np.ones((32, 2), np.uint64))


class Flood:
    """A publisher that sends without a pause until it is closed."""

    def __init__(self):
        self._publisher = ZMQReadoutPublisher("127.0.0.1", "*")
        self.port = int(self._publisher.endpoint.rpartition(":")[2])
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        number = 0
        while not self._is_over.is_set():
            number += 1
            self._publisher.publish(readout(number))

    def close(self):
        self._is_over.set()
        self._thread.join(LIMIT_S)
        self._publisher.close()


@pytest.fixture
def flood():
    with closing(Flood()) as one:
        yield one


def take(listener, **how):
    return (listener.get_readout if isinstance(listener, SSReadoutListener) else listener.get_data)(**how)


@pytest.mark.parametrize("kind", KINDS)
def test_never_started_and_started_afterwards(kind):
    listener = kind("127.0.0.1", 9)
    assert ends(listener.close)
    assert take(listener, timeout=LIMIT_S) is None
    listener.start()
    listener.join(LIMIT_S)
    assert not listener.is_alive()
    assert ends(listener.close)


@pytest.mark.parametrize("kind", KINDS)
def test_while_readouts_rain(kind, flood):
    listener = kind("127.0.0.1", flood.port)
    listener.start()
    assert take(listener, timeout=LIMIT_S) is not None
    assert ends(listener.close)
    assert take(listener) is None


@pytest.mark.parametrize("kind", KINDS)
def test_while_others_take_and_close_too(kind, flood):
    listener = kind("127.0.0.1", flood.port)
    listener.start()

    def take_all():
        while take(listener) is not None:
            pass

    takers = [threading.Thread(target=take_all, daemon=True) for _ in range(3)]
    for taker in takers:
        taker.start()
    assert take(listener, timeout=LIMIT_S) is not None
    closers = [threading.Thread(target=listener.close, daemon=True) for _ in range(3)]
    for closer in closers:
        closer.start()
    for thread in [*takers, *closers]:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_after_its_publisher_has_gone(kind):
    with closing(Flood()) as flood:
        listener = kind("127.0.0.1", flood.port)
        listener.start()
        assert take(listener, timeout=LIMIT_S) is not None
    assert ends(listener.close)


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_middle_of_an_exception_as_in_the_readme(kind, flood):
    listener = kind("127.0.0.1", flood.port)
    listener.start()
    try:
        take(listener, timeout=LIMIT_S)
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert ends(listener.close)
    assert take(listener) is None


def test_one_that_binds_lets_the_address_go():
    port = free_ports(1, socket.SOCK_STREAM)
    for _ in range(3):
        listener = SSReadoutListener("0.0.0.0", port)
        listener.start()
        with suppress(queue.Empty):
            listener.get_readout(timeout=0.01)
        assert ends(listener.close)


@pytest.mark.parametrize("is_started", [False, True])
def test_a_writer_without_a_publisher(tmp_path, is_started):
    writer = SSFileWriter("a", "127.0.0.1", 9, folder=tmp_path)
    if is_started:
        writer.start()
    assert ends(writer.close)
    assert ends(writer.close)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_while_readouts_rain(tmp_path, flood):
    writer = SSFileWriter("a", "127.0.0.1", flood.port, folder=tmp_path)
    writer.start()
    for _ in range(3000):
        if writer.counters["written"]:
            break
        threading.Event().wait(0.01)
    assert ends(writer.close)
    assert writer.counters["received"] == writer.counters["written"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.hdf5"]
