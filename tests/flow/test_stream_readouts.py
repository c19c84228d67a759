"""Publishers and listeners of readouts, in every mode, and what a slow one does not get."""

import socket
from contextlib import ExitStack, closing

import numpy as np
import pytest
from tests.ports import free_ports

from forebay.errors import ConfigError, StreamError
from forebay.stream.readouts import ReadoutListener, ReadoutPublisher
from forebay.wire import ssreadout

pytestmark = pytest.mark.flow


def some(n, first=1):
    readouts = ssreadout.new(n)
    readouts["number"] = np.arange(first, first + n)
    readouts["time_ns"] = readouts["number"] * 1000
    readouts["arrived_ns"] = 5
    readouts["data"] = 1.5
    readouts["timestamps"] = 7
    return readouts


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield lambda one: stack.enter_context(closing(one))


def wait_for(publisher, n):
    for _ in range(1000):
        if publisher.count_subscribers() >= n:
            return
        publisher._socket._socket.poll(10)
    raise AssertionError("nobody subscribed")


def listener_of(publisher):
    return ReadoutListener("127.0.0.1", int(publisher.endpoint.rpartition(":")[2]))


def receive(listener, n):
    found = []
    for _ in range(1000):
        found += list(listener.read(0.1))
        if len(found) >= n:
            return np.array(found)
    raise AssertionError(f"{len(found)} of {n} came")


@pytest.mark.parametrize("mode", ["local", "outbound"])
@pytest.mark.parametrize("generation", ["A", "B"])
def test_listeners_get_every_readout(opened, mode, generation):
    publisher = opened(ReadoutPublisher("127.0.0.1", "*", mode, generation=generation))
    listeners = [opened(listener_of(publisher)) for _ in range(2)]
    wait_for(publisher, 2)
    for first in range(1, 400, 10):
        publisher.append(some(10, first))
    for listener in listeners:
        found = receive(listener, 400)
        assert found["number"].tolist() == list(range(1, 401))
        assert (found["data"] == 1.5).all()
        assert listener.counters == {"received": 400, "malformed": 0, "lost": 0}
    assert publisher.counters == {"offered": 400, "sent": 400, "unwatched": 0, "congested": 0}


def test_a_remote_listener_binds(opened):
    port = free_ports(1, socket.SOCK_STREAM)
    listener = opened(ReadoutListener("0.0.0.0", port))
    publisher = opened(ReadoutPublisher("127.0.0.1", port, "remote"))
    for _ in range(1000):  # a listener that binds subscribes when it reads
        if publisher.count_subscribers():
            break
        assert not len(listener.read(0.01))
    publisher.append(some(3))
    assert receive(listener, 3)["number"].tolist() == [1, 2, 3]


def test_a_topic_is_a_frame_of_its_own(opened):
    publisher = opened(ReadoutPublisher("127.0.0.1", "*", topic=b"chec"))
    listener = opened(listener_of(publisher))
    wait_for(publisher, 1)
    publisher.append(some(2))
    assert receive(listener, 2)["number"].tolist() == [1, 2]


def test_without_a_listener_nothing_is_sent_and_counted(opened):
    publisher = opened(ReadoutPublisher("127.0.0.1", "*"))
    publisher.append(some(3))
    publisher.append(some(0))
    assert publisher.counters == {"offered": 3, "sent": 0, "unwatched": 3, "congested": 0}


def test_a_slow_listener_is_counted_and_delays_nobody(opened):
    publisher = opened(ReadoutPublisher("127.0.0.1", "*", hwm=5))
    slow = opened(ReadoutListener("127.0.0.1", publisher.endpoint.rpartition(":")[2], hwm=1))
    wait_for(publisher, 1)
    n = 0
    while not publisher.counters["congested"]:
        publisher.append(some(50, n + 1))
        n += 50
        assert n < 100_000
    for _ in range(1000):  # it reads what waits for it, and is served again
        n += 1
        publisher.append(some(1, n))
        if n in slow.read(0.05)["number"]:
            break
    assert slow.counters["received"] + slow.counters["lost"] == n == publisher.counters["sent"]
    assert slow.counters["lost"]


def test_malformed_messages_are_counted(opened):
    publisher = opened(ReadoutPublisher("127.0.0.1", "*"))
    listener = opened(listener_of(publisher))
    wait_for(publisher, 1)
    publisher._socket.send([b"nonsense"])
    publisher.append(some(1))
    assert len(receive(listener, 1)) == 1
    assert listener.counters["malformed"] == 1


def test_gaps_are_counted_and_a_new_count_is_none(opened):
    publisher = opened(ReadoutPublisher("127.0.0.1", "*"))
    listener = opened(listener_of(publisher))
    wait_for(publisher, 1)
    for first in (1, 11, 1):
        publisher.append(some(3, first))
    receive(listener, 9)
    assert listener.counters["lost"] == 7


@pytest.mark.parametrize("wrong", [{"mode": "loud"}, {"ip": "here"}, {"generation": "C"}])
def test_publishers_that_cannot_be(wrong):
    with pytest.raises(ConfigError):
        ReadoutPublisher(**{"ip": "127.0.0.1", "port": "*"} | wrong)


def test_local_is_this_computer_only():
    for ip in ("0.0.0.0", "10.9.8.7", "::"):
        with pytest.raises(StreamError, match=r"other hosts.*mode outbound"):
            ReadoutPublisher(ip, "*", "local")
