"""One port, many ZeroMQ consumers: each gets everything, history then live."""

import socket
import threading

import numpy as np
import pytest
import zmq
from tests.waiting import until

from forebay.errors import ConfigError, StreamError, WireError
from forebay.ring.memory import MemoryRing
from forebay.stream.fanout import FanOut
from forebay.wire import zmtp
from forebay.wire.bsread import HeaderCache, announce, decode, describe, encode, message

pytestmark = pytest.mark.flow

IMAGE = np.arange(64 * 1024, dtype="u2").reshape(64, 1024)
VALUES = {"A": 1.5, "TEXT": "open", "LONG": "x" * 300, "CAM:FPICTURE": IMAGE}
HEADER = announce([describe(name, value) for name, value in VALUES.items()])


def messages(first, n):
    return [message(HEADER, p, 10**18 + p, VALUES) for p in range(first, first + n)]


def events(first, n):
    cache = HeaderCache()
    return [decode(parts, cache) for parts in messages(first, n)]


@pytest.fixture
def output():
    """A ring of 50 messages and its port."""
    ring = MemoryRing(50, 2**30)
    served = FanOut(ring.reader, encode, "tcp://127.0.0.1:*", max_consumers=6)
    yield ring, served
    ring.close()
    served.close()


@pytest.fixture
def connect():
    """Return a function that opens a consumer of ZeroMQ's own."""
    with zmq.Context() as context:
        sockets = []

        def one(kind, endpoint, topic=b"", hwm=1):
            consumer = context.socket(kind)
            consumer.set_hwm(hwm)
            consumer.linger = 0
            consumer.rcvtimeo = 20_000
            if kind == zmq.SUB:
                consumer.subscribe(topic)
            consumer.connect(endpoint)
            sockets.append(consumer)
            return consumer

        yield one
        for consumer in sockets:
            consumer.close()


def receive(consumer, n):
    return [consumer.recv_multipart() for _ in range(n)]


def as_bytes(parts):
    return [bytes(part) for part in parts]


def test_history_then_live_without_a_gap_and_the_very_bytes(output, connect):
    ring, served = output
    ring.write(events(0, 20))
    consumer = connect(zmq.PULL, served.endpoint)
    got = receive(consumer, 5)
    ring.write(events(20, 20))
    got += receive(consumer, 35)
    assert got == [as_bytes(parts) for parts in messages(0, 40)]


def test_two_consumers_get_everything_each(output, connect):
    ring, served = output
    ring.write(events(0, 10))
    first = connect(zmq.PULL, served.endpoint)
    assert [m[0] for m in receive(first, 10)] == [m[0] for m in messages(0, 10)]
    second = connect(zmq.PULL, served.endpoint)
    ring.write(events(10, 10))
    assert [m[0] for m in receive(second, 20)] == [m[0] for m in messages(0, 20)]
    assert [m[0] for m in receive(first, 10)] == [m[0] for m in messages(10, 10)]


def test_a_subscriber_starts_at_the_newest_and_may_have_a_topic(output, connect):
    ring, served = output
    ring.write(events(0, 10))
    eye = connect(zmq.SUB, served.endpoint)
    nobody = connect(zmq.SUB, served.endpoint, b"no message begins so")
    until(lambda: len(served.consumers) == 2, "two subscribers")
    assert eye.recv_multipart()[0] == messages(9, 1)[0][0]
    ring.write(events(10, 3))
    assert [m[0] for m in receive(eye, 3)] == [m[0] for m in messages(10, 3)]
    assert not nobody.poll(0)
    assert served.counters["refused"] == 0


def test_a_consumer_that_does_not_read_loses_by_itself_and_it_is_counted(output, connect):
    ring, served = output
    lazy = connect(zmq.PULL, served.endpoint)
    until(lambda: served.consumers, "a consumer")
    quick = connect(zmq.PULL, served.endpoint)
    for first in range(0, 600, 20):  # 75 MB, more than sockets take
        ring.write(events(first, 20))
        assert len(receive(quick, 20)) == 20
    got = [lazy.recv_multipart()[0]]
    while lazy.poll(500):
        got.append(lazy.recv_multipart()[0])
    until(lambda: served.counters["lost"], "the loss")
    assert len(got) + served.counters["lost"] == 600
    assert got[-1] == messages(599, 1)[0][0]


def test_a_consumer_that_goes_leaves_the_others_alone(output, connect):
    ring, served = output
    ring.write(events(0, 30))
    first = connect(zmq.PULL, served.endpoint)
    receive(first, 3)
    first.close()
    second = connect(zmq.PULL, served.endpoint)
    assert len(receive(second, 30)) == 30
    until(lambda: len(served.consumers) == 1, "the end of the first")


def test_what_is_left_is_read_after_the_ring_was_closed(connect):
    ring = MemoryRing(50, 2**30)
    served = FanOut(ring.reader, encode, "tcp://127.0.0.1:*")
    consumer = connect(zmq.PULL, served.endpoint)
    until(lambda: served.consumers, "a consumer")
    ring.write(events(0, 40))
    ring.close()
    closing = threading.Thread(target=served.close, args=(20.0,))
    closing.start()
    assert len(receive(consumer, 40)) == 40
    closing.join(20)
    assert not closing.is_alive()


@pytest.mark.parametrize("kind", [zmq.PUSH, zmq.REQ, zmq.DEALER])
def test_other_sockets_are_refused(output, connect, kind):
    _, served = output
    connect(kind, served.endpoint)
    until(lambda: served.counters["refused"], "the refusal")
    assert not served.consumers


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n".ljust(64),
        bytes(64),
        zmtp.GREETING[:10] + b"\x01" + zmtp.GREETING[11:],
        zmtp.GREETING[:12] + b"CURVE".ljust(20, b"\0") + zmtp.GREETING[32:],
        zmtp.GREETING + b"\x06" + b"\xff" * 8,
        zmtp.GREETING + b"\xf0\x05hello",
        zmtp.GREETING + b"\x00\x05hello",
        zmtp.GREETING + b"\x04\x00",
        zmtp.GREETING + zmtp.command(b"READY", b"\x0bSocket-Type\xff\xff\xff\xffPULL"),
        zmtp.GREETING + zmtp.command(b"READY", b"\xff"),
        zmtp.GREETING + zmtp.ready("PULL") + b"\x04\x01\x09",
    ],
)
def test_who_does_not_speak_zeromq_is_sent_away(output, connect, said):
    ring, served = output
    host, port = served.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as stranger:
        stranger.sendall(said)
        while stranger.recv(4096):
            pass
    ring.write(events(0, 3))
    assert len(receive(connect(zmq.PULL, served.endpoint), 3)) == 3


def test_a_ping_is_answered_between_messages(output):
    _, served = output
    host, port = served.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as peer:
        peer.sendall(zmtp.GREETING + zmtp.ready("PULL") + zmtp.command(b"PING", b"\0\x0aabc"))
        wanted = zmtp.GREETING + zmtp.ready("PUSH") + zmtp.command(b"PONG", b"abc")
        got = b""
        while len(got) < len(wanted):
            got += peer.recv(len(wanted) - len(got))
        assert got == wanted


def test_there_is_an_end_to_connections(output, connect):
    _, served = output
    for _ in range(8):
        connect(zmq.PULL, served.endpoint)
    until(lambda: served.counters["refused"] >= 2 and len(served.consumers) == 6, "six consumers")


def test_an_event_that_cannot_be_sent_is_counted(connect):
    def refuse(event):
        if event.pulse_id == 1:
            raise WireError("no")
        return encode(event)

    ring = MemoryRing(50, 2**30)
    served = FanOut(ring.reader, refuse, "tcp://127.0.0.1:*")
    ring.write(events(0, 3))
    assert len(receive(connect(zmq.PULL, served.endpoint), 2)) == 2
    assert served.counters["unsendable"] == 1
    ring.close()
    served.close()


def test_addresses(output):
    _, served = output
    with pytest.raises(StreamError, match="in use"):
        FanOut(MemoryRing(1, 1).reader, encode, served.endpoint)
    for wrong in ("tcp://0.0.0.0:*", "tcp://*:9", "tcp://192.0.2.1:7", "ipc:///tmp/x", "udp://127.0.0.1:1"):
        with pytest.raises((StreamError, ConfigError)):
            FanOut(MemoryRing(1, 1).reader, encode, wrong)
