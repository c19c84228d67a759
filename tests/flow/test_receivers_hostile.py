"""Hostile bytes on every socket of the receivers of 0.9: they are counted, and what is good goes on."""

import random
import socket
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import zmq
from tests.one_cpu import one_cpu
from tests.waiting import until

from forebay.service.receiver_classes import (
    LogReceiver,
    MonitorReceiver,
    TelDataReceiver,
    TimestampReceiver,
    TriggerPacketReceiver,
)
from forebay.stream.message_publisher import MessagePublisher
from forebay.stream.messages import MessageListener
from forebay.stream.monitoring import MonitorSender
from forebay.stream.request import ask

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
TRIGGER = (VECTORS / "trigger/trigger_v3.bin").read_bytes()
BUNCH = (VECTORS / "trigger/timestamp_bunch_in.bin").read_bytes()
LOG = (VECTORS / "zmq/B_log_LogData_0.bin").read_bytes()
MONITOR = (VECTORS / "zmq/B_monitor_MonitorData_0.bin").read_bytes()


def hostile(seeds):
    """Return damaged messages, and bytes that are none."""
    dice = random.Random(7)
    found = [b"", b"\0", b"\xff" * 20_000, b"GET / HTTP/1.0\r\n\r\n", dice.randbytes(5000)]
    for seed in seeds:
        found += [seed[: len(seed) // 2], seed + b"x", bytes(dice.randbytes(3)) + seed]
        for _ in range(30):
            damaged = bytearray(seed)
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            found.append(bytes(damaged))
    return found


class Running:
    """A receiver in a thread, and who listens to it."""

    def __init__(self, kind, stack, port=0, **more):
        self.publisher = MessagePublisher("127.0.0.1", "*")
        self.receiver = kind("127.0.0.1", port, [self.publisher], monitor="", **more)
        self.thread = threading.Thread(target=self.receiver.run, daemon=True)
        self.thread.start()
        stack.callback(self.end)
        self.listener = stack.enter_context(
            closing(MessageListener("127.0.0.1", int(self.publisher.endpoint.rpartition(":")[2])))
        )
        until(lambda: self.receiver.status()["publishers"][0]["subscribers"])
        self.port = int(self.receiver.endpoint.rpartition(":")[2]) if ":" in self.receiver.endpoint else 0

    def end(self):
        self.receiver.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def hears(self, wanted):
        """Listen until `wanted` came."""
        until(lambda: wanted in self.listener.read(0.05))
        return self.receiver.status()["receiver"]


def test_datagrams():
    with ExitStack() as stack, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
        running = Running(TriggerPacketReceiver, stack)
        wrong = hostile([TRIGGER])
        with one_cpu():
            for one in [*wrong, TRIGGER]:
                board.sendto(one, ("127.0.0.1", running.port))
        counters = running.hears(TRIGGER)
        assert counters["received"] == len(wrong) + 1
        assert 0 < counters["malformed"] < len(wrong)


def test_log_connections():
    with ExitStack() as stack:
        running = Running(LogReceiver, stack)
        for one in hostile([LOG, LOG + LOG]):
            with socket.create_connection(("127.0.0.1", running.port)) as program:
                program.sendall(one)
        with socket.create_connection(("127.0.0.1", running.port)) as program:
            program.sendall(LOG)
            running.hears(LOG)
        until(lambda: running.receiver.status()["receiver"]["malformed"] > 10)  # others may be read later
        counters = running.receiver.status()["receiver"]
        assert counters["received"] == counters["messages"] + counters["malformed"]


def test_a_connection_that_is_reset():
    with ExitStack() as stack:
        running = Running(LogReceiver, stack)
        with socket.create_connection(("127.0.0.1", running.port)) as program:
            program.sendall(LOG[:20])
            program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with socket.create_connection(("127.0.0.1", running.port)) as program:
            program.sendall(LOG)
            running.hears(LOG)


def test_monitoring_by_zeromq_and_by_nothing_at_all():
    with ExitStack() as stack:
        running = Running(MonitorReceiver, stack)
        with socket.create_connection(("127.0.0.1", running.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 50)
        sender = stack.enter_context(closing(MonitorSender(running.receiver.endpoint)))
        wrong = hostile([MONITOR])
        for one in [*wrong, MONITOR]:
            until(lambda one=one: sender.send(one))
        running.hears(MONITOR)
        until(lambda: running.receiver.status()["receiver"]["received"] > len(wrong))
        counters = running.receiver.status()["receiver"]  # ZeroMQ may take the stranger for one of its first
        assert counters["received"] == counters["messages"] + counters["malformed"]
        assert counters["malformed"] > 0


def test_bunches():
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        board = stack.enter_context(context.socket(zmq.XPUB))
        board.linger = 0
        port = board.bind_to_random_port("tcp://127.0.0.1")
        running = Running(TimestampReceiver, stack, port)
        board.recv()
        wrong = hostile([BUNCH])
        for one in [*wrong, BUNCH]:
            board.send(one)
        until(lambda: running.receiver.status()["receiver"]["received"] == len(wrong) + 1)
        assert running.receiver.status()["receiver"]["malformed"] > 0
        assert running.receiver.status()["receiver"]["messages"] >= 3


def test_the_control_channel(tmp_path):
    tmp_path.chmod(0o700)
    with ExitStack() as stack:
        control = f"ipc://{tmp_path}/c"
        Running(TelDataReceiver, stack, period_s=0.01, control=control)
        for one in hostile([b"status"]):
            assert ask(control, one, 20.0)
        assert b'"messages"' in ask(control, b"status", 20.0)
