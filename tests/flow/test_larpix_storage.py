"""The storage waits for the end of a run that comes through the flow of data, and counts what never came."""

import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.system.stand import free_ports

from forebay.front.larpix.arguments import parse
from forebay.service.larpix_storage import Storage
from forebay.store.check import check_file
from forebay.stream.xylem import DataOut, RouterSocket
from forebay.wire import xylem as x
from forebay.wire.larpix import block

pytestmark = pytest.mark.flow

WAIT_S = 20.0
BOARD = "LArPix board"


class Stand:
    """A core and an aggregator in the hands of the test, and the storage in a thread."""

    def __init__(self, directory):
        first = free_ports(3, socket.SOCK_STREAM)
        self.router = RouterSocket([f"tcp://127.0.0.1:{first}"])
        self.out = DataOut(f"tcp://127.0.0.1:{first + 1}")
        words = ["-o", directory, "--core-port", first, "--log-address", f"tcp://127.0.0.1:{first + 2}"]
        self.storage = Storage(parse("offline_storage", list(map(str, words))))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.storage.run, args=[self.stop])
        self.thread.start()
        self.identity, _ = self.router.receive(WAIT_S)
        self.say(x.Registered({"AGGREGATOR": self.out.address}))
        self.n = 0

    def say(self, message):
        self.router.send(self.identity, x.encode(message))

    def report(self, timeout=WAIT_S):
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            received = self.router.receive(left)
            message = None if received is None else x.decode(received[1])
            if isinstance(message, x.Ping):
                self.say(x.Pong())
            elif isinstance(message, x.StateReport):
                return message
        return None

    def enter(self, state, transition):
        self.say(x.StateUpdate(state, transition, 7))

    def data(self, n):
        records = block.make(block.WORD, np.arange(n, dtype=np.uint64), 1, 1)
        header = {"name": BOARD, "timestamp": 1e9, "sequence": self.n}
        self.n += 1
        self.out.send(x.Data(header, block.encode(records)))

    def info(self, text):
        self.out.send(x.Info(1e9, BOARD, text, {"sequence": self.n}))
        self.n += 1

    def close(self):
        self.stop.set()
        self.thread.join()
        self.router.close()
        self.out.close()


@pytest.fixture
def stand(tmp_path):
    stand = Stand(tmp_path)
    yield stand
    stand.close()


def test_a_run_ends_when_its_end_has_come_through(stand):
    stand.enter("READY", 1)
    assert stand.report().transition == 1
    stand.info(x.BEGINNING)  # data in READY count as RUN
    stand.data(10)
    stand.enter("RUN", 2)
    assert stand.report().transition == 2
    while stand.storage.n_packets < 10:
        assert stand.report(0.02) is None
    stand.enter("STOP", 3)
    assert stand.report(0.5) is None  # what is in flight is waited for
    stand.data(20)
    stand.n += 1  # a message that never came
    stand.data(5)
    stand.info(x.ENDING)
    done = stand.report()
    assert (done.state, done.transition, done.failed) == ("STOP", 3, "")
    assert done.account["packets_stored"] == 35
    assert done.account["messages_missing"] == 1
    assert done.account["no_end_of"] == []
    assert losses(done) == ["1 messages of producers never came to the storage."]


def losses(done):
    return [one.message for one in check_file(Path(done.account["file"])).problems if one.severity == "loss"]


def test_a_producer_that_is_dead_is_not_waited_for(stand, monkeypatch):
    monkeypatch.setattr("forebay.service.larpix_storage._SILENCE_S", 0.2)
    stand.enter("READY", 1)
    assert stand.report().transition == 1
    stand.info(x.BEGINNING)
    stand.data(10)
    while stand.storage.n_packets < 10:
        assert stand.report(0.02) is None
    stand.enter("STOP", 2)
    done = stand.report()
    assert done.account["no_end_of"] == [BOARD]
    assert done.account["packets_stored"] == 10
    assert losses(done) == [f"No end of the run came from {BOARD}: what it sent last may be missing."]


def test_a_disk_that_is_slow_is_no_silence_of_the_producer(stand, monkeypatch):
    clock = SlowClock()
    monkeypatch.setattr("forebay.service.larpix_storage.time", clock)
    store = stand.storage._store

    def slow_store(parts, notes):
        store(parts, notes)
        clock.behind += 10.0 * bool(parts)

    monkeypatch.setattr(stand.storage, "_store", slow_store)
    stand.enter("READY", 1)
    assert stand.report().transition == 1
    stand.info(x.BEGINNING)
    for n in range(1, 4):
        stand.data(10)
        while stand.storage.n_packets < 10 * n:
            assert stand.report(0.02) is None
        if n == 1:
            stand.enter("STOP", 2)
    stand.info(x.ENDING)
    done = stand.report()
    assert (done.account["packets_stored"], done.account["no_end_of"]) == (30, [])


class SlowClock:
    """The module `time`, with a clock that can be put forward."""

    behind = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self):
        return time.monotonic() + self.behind


def test_a_block_that_is_none_is_counted(stand):
    stand.enter("READY", 1)
    assert stand.report().transition == 1
    stand.out.send(x.Data({"name": BOARD, "sequence": 0}, b"no block"))
    stand.n = 1
    stand.data(3)
    while stand.storage.n_packets < 3:
        assert stand.report(0.02) is None
    stand.enter("STOP", 2)
    assert stand.report().account["messages_malformed"] == 1


def test_a_directory_that_cannot_be_made_is_said_and_the_storage_lives(stand, tmp_path):
    (tmp_path / "file").touch()
    stand.storage._directory = tmp_path / "file" / "data"
    stand.enter("READY", 1)
    assert "Give another directory" in stand.report().failed
    stand.storage._directory = tmp_path
    stand.enter("STOP", 2)
    stand.enter("READY", 3)
    done = stand.report()
    while done.transition != 3:
        done = stand.report()
    assert not done.failed
