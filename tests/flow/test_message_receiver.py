"""A receiver hands on all that came, also at its end, and one bad publisher stops no other."""

import json
import logging
import socket
import threading
from contextlib import closing

import pytest
from tests.waiting import until

from forebay.errors import ConfigError, StoreError
from forebay.service.log_sender import LogSender, logs_sent
from forebay.service.message_receiver import MessageReceiver, answer
from forebay.service.monitored import monitored
from forebay.service.process import LOG, say
from forebay.service.receiver_classes import (
    LogReceiver,
    MonitorReceiver,
    TelDataReceiver,
    TriggerPacketReceiver,
)
from forebay.stream.logs import LogInlet
from forebay.stream.message_publisher import MessagePublisher
from forebay.stream.messages import MessageListener
from forebay.stream.monitoring import MonitorInlet
from forebay.wire import cdts

pytestmark = pytest.mark.flow


class Given:
    """An inlet of batches."""

    def __init__(self, batches, last=()):
        self.batches, self.last = list(batches), list(last)
        self.counters = {"received": 0, "messages": 0, "malformed": 0}
        self.n_closed = 0

    def read(self, timeout):
        found = self.batches.pop(0) if self.batches else []
        self.counters["received"] += len(found)
        return found

    def finish(self):
        return self.last

    def close(self):
        self.n_closed += 1


class Kept:
    """An outlet that keeps what it gets, or fails after so many batches."""

    def __init__(self, name, fails_after=None):
        self.name = self.endpoint = name
        self.counters = {"offered": 0, "sent": 0}
        self.got, self.n_closed, self._left = [], 0, fails_after

    def send(self, messages):
        if self._left is not None:
            if not self._left:
                raise StoreError(f"{self.name} is full.")
            self._left -= 1
        self.got += messages
        self.counters["sent"] += len(messages)

    def close(self):
        self.n_closed += 1


def test_what_waits_at_the_end_is_handed_on():
    inlet, outlet = Given([[b"a"], [b"b", b"c"], [b"d"]], last=[b"e"]), Kept("x")
    receiver = MessageReceiver(inlet, [outlet])
    receiver.run(lambda: True)
    assert outlet.got == [b"a", b"b", b"c", b"d", b"e"]
    assert (inlet.n_closed, outlet.n_closed, receiver.n_received) == (1, 1, 4)


def test_a_publisher_that_fails_is_left_out():
    outlets = Kept("good"), Kept("bad", fails_after=1)
    receiver = MessageReceiver(Given([[b"a"], [b"b"], [b"c"]]), outlets)
    receiver.run(lambda: True)
    assert outlets[0].got == [b"a", b"b", b"c"]
    assert outlets[1].got == [b"a"]
    assert outlets[1].n_closed == 1
    status = json.loads(answer(receiver, b"status\n"))
    assert status["failed"] == ["bad is full."]
    assert [one["sent"] for one in status["publishers"]] == [3, 1]


@pytest.mark.parametrize("message", [b"", b"\xff\xfe", b"explode now", b"x" * 1000])
def test_whatever_is_asked_is_answered(message):
    assert answer(MessageReceiver(Given([]), []), message).startswith(b"Unknown command")


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (TriggerPacketReceiver, {}),
        (LogReceiver, {}),
        (MonitorReceiver, {}),
        (TelDataReceiver, {"period_s": 0.01}),
    ],
)
def test_receivers_of_the_library_run_until_they_are_stopped(kind, more):
    publisher = MessagePublisher("127.0.0.1", "*")
    receiver = kind("127.0.0.1", 0, [publisher], monitor="", **more)
    ready = threading.Event()
    thread = threading.Thread(target=receiver.run, args=(ready.set,), daemon=True)
    thread.start()
    until(ready.is_set)
    if kind is TelDataReceiver:
        until(lambda: receiver.status()["receiver"]["messages"] > 3)
    receiver.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert receiver.status()["failed"] == []
    assert receiver.name == kind.__name__


def test_a_receiver_tells_how_it_is():
    counts = iter([(0, [0, 0]), (10, [5, 0])])
    last = [(0, [0, 0])]

    def count():
        last.append(next(counts, last[-1]))
        return last[-1]

    with closing(MonitorInlet("127.0.0.1", "*")) as inlet, monitored("R", inlet.endpoint, count, 0.01):
        found = [cdts.decode(cdts.MONITOR, one)["reciver"] for one in until(lambda: inlet.read(0.1))]
    assert (found[0]["name"], found[0]["recv_data"], found[0]["from_tm"]) == ("R", True, [0])


def test_logs_go_to_the_log_receiver():
    with closing(LogInlet("127.0.0.1", 0)) as inlet:
        LOG.setLevel(logging.INFO)
        with logs_sent(inlet.endpoint, "R"):
            say("began", rate_hz=1 / 3, file="x")
            say("failed", logging.ERROR)
            found = []
            until(lambda: found.extend(inlet.read(0.02)) or len(found) == 2)
    records = [cdts.decode(cdts.LOG, one) for one in found]
    assert [one["message"] for one in records] == ["began rate_hz=0.333333 file=x", "failed"]
    assert [one["severity"] for one in records] == [20, 40]
    assert {one["sender"] for one in records} == {"ssdaq.R"}


def test_who_logs_does_not_wait_for_a_log_receiver():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        sender = LogSender(nobody.getsockname(), "R")
        for _ in range(5):
            sender.handle(logging.LogRecord("x", logging.INFO, "f", 1, "m", None, None))
        until(lambda: sender.n_dropped == 5)
        sender.close()
        sender.close()


def test_a_log_server_that_is_none_is_named():
    with pytest.raises(ConfigError, match="not IP:PORT"), logs_sent("nowhere", "R"):
        pass


def test_messages_of_the_log_receiver_reach_who_listens():
    publisher = MessagePublisher("127.0.0.1", "*")
    receiver = LogReceiver("127.0.0.1", 0, [publisher], monitor="")
    port = int(receiver.endpoint.rpartition(":")[2])
    thread = threading.Thread(target=receiver.run, daemon=True)
    thread.start()
    with closing(MessageListener("127.0.0.1", int(publisher.endpoint.rpartition(":")[2]))) as listener:
        until(lambda: receiver.status()["publishers"][0]["subscribers"] == 1)
        record = logging.LogRecord("x", logging.INFO, "f", 1, "m", None, None)
        sender = LogSender(("127.0.0.1", port), "R")
        sender.handle(record)
        (message,) = until(lambda: listener.read(0.1))
        sender.close()
        receiver.stop()
        thread.join(20)
    assert cdts.decode(cdts.LOG, message)["message"] == "m"
