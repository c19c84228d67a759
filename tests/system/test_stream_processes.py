"""Streams between real processes: two clients at once, kill -9 of either side, reconnection."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.ports import free_ports

from forebay.event import Event
from forebay.ring.slots import FRAME
from forebay.stream.endpoint import ipc
from forebay.stream.frames import FramePuller
from forebay.stream.zmq import Publisher, Puller, Subscriber

pytestmark = [pytest.mark.system, pytest.mark.calm]

PRELUDE = """
import sys, time
import numpy as np
from forebay.event import Event
from forebay.ring.slots import FRAME
from forebay.stream.frames import FramePusher
from forebay.stream.zmq import Publisher, Puller, Pusher, Subscriber
def event(p, n=200):
    return Event("jf", p, 1, {"data": np.full((n, n), p, np.uint32)}, np.zeros(2, np.uint32), 128)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process of these lines; all are killed at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start(lines: str, *arguments: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", PRELUDE + lines, *arguments], stdout=subprocess.PIPE, text=True
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=30)


PUBLISH = """
publisher = Publisher(sys.argv[1])
p = int(sys.argv[2])
while True:
    publisher.write([event(p)])
    p += 1
    time.sleep(0.001)
"""

PUSH = """
pusher = Pusher(sys.argv[1], timeout_s=60)
first, n = int(sys.argv[2]), int(sys.argv[3])
for p in range(first, first + n):
    pusher.write([event(p)])
pusher.close(30)
print(pusher.counters["sent"])
"""

SUBSCRIBE = """
subscriber = Subscriber(sys.argv[1])
n = 0
while n < int(sys.argv[2]):
    for e in subscriber.read(1):
        assert (e.arrays["data"] == e.pulse_id).all()
        n += 1
print(n, subscriber.counters["malformed"], subscriber.counters["lost"])
"""

PULL = """
puller = Puller(sys.argv[1])
print("ready", flush=True)
while True:
    for e in puller.read(1, most=1):
        print(e.pulse_id, flush=True)
"""


def read_some(source: Subscriber | Puller, n: int, seconds: float = 60) -> list[Event]:
    end = time.monotonic() + seconds
    got: list[Event] = []
    while len(got) < n:
        assert time.monotonic() < end, f"{len(got)} of {n} events came: {source.counters}"
        got += source.read(0.5) or ()
    return got


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_killed_publisher_comes_back(transport: str, tmp_path: Path, start: Start) -> None:
    endpoint = ipc(tmp_path / "run", "a")
    if transport == "tcp":
        endpoint = f"tcp://127.0.0.1:{free_ports(1, socket.SOCK_STREAM)}"
    subscriber = Subscriber(endpoint)
    for turn in range(3):
        publisher = start(PUBLISH, endpoint, str(10**6 * turn))
        got = [e for e in read_some(subscriber, 50) if e.pulse_id >= 10**6 * turn]
        assert all((e.arrays["data"] == e.pulse_id).all() for e in got)
        publisher.kill()
        publisher.wait()
    read_some(subscriber, 0)
    assert subscriber.counters["senders"] == 3
    assert subscriber.counters["lost"] == subscriber.counters["duplicate"] == 0
    subscriber.close()


def test_two_clients_at_once_and_one_killed(tmp_path: Path, start: Start) -> None:
    publisher = Publisher(ipc(tmp_path / "run", "a"))
    clients = [start(SUBSCRIBE, publisher.endpoint, "200") for _ in range(2)]
    victim = start(SUBSCRIBE, publisher.endpoint, "1000000000")
    event = _event()
    end = time.monotonic() + 60
    while any(client.poll() is None for client in clients):
        assert time.monotonic() < end, publisher.counters
        publisher.write([event(publisher.counters["offered"])])
        if publisher.counters["sent"] == 50:
            victim.kill()
        time.sleep(0.001)
    for client in clients:
        n, malformed, lost = client.communicate(timeout=30)[0].split()
        assert int(n) >= 200
        assert (malformed, lost) == ("0", "0")
    assert publisher.counters["congested"] == 0
    publisher.close()


def test_two_pushers_one_reader_nothing_lost(tmp_path: Path, start: Start) -> None:
    endpoint = ipc(tmp_path / "run", "a")
    pushers = [start(PUSH, endpoint, str(10_000 * i), "500") for i in range(2)]
    puller = Puller(endpoint)
    got = read_some(puller, 1000)
    assert [p.communicate(timeout=60)[0].strip() for p in pushers] == ["500", "500"]
    for i in range(2):
        mine = [e.pulse_id for e in got if e.pulse_id // 10_000 == i]
        assert mine == list(range(10_000 * i, 10_000 * i + 500))
    assert puller.counters["lost"] == puller.counters["before"] == 0
    puller.close()


def test_a_killed_reader_is_replaced_and_its_successor_knows(tmp_path: Path, start: Start) -> None:
    endpoint = ipc(tmp_path / "run", "a")
    victim = start(PULL, endpoint)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "ready\n"
    pusher = start(PUSH, endpoint, "0", "3000")
    for _ in range(10):
        victim.stdout.readline()
    victim.kill()
    victim.wait()
    puller = Puller(endpoint)
    got: list[Event] = []
    end = time.monotonic() + 60
    while not got or got[-1].pulse_id != 2999:
        assert time.monotonic() < end
        got += puller.read(0.5) or ()
    assert pusher.communicate(timeout=60)[0].strip() == "3000"
    assert puller.counters["before"] + len(got) + puller.counters["lost"] == 3000
    assert puller.counters["before"] == got[0].pulse_id
    puller.close()


def test_a_killed_pusher_leaves_whole_messages_only(tmp_path: Path, start: Start) -> None:
    endpoint = ipc(tmp_path / "run", "a")
    puller = Puller(endpoint)
    for turn in range(5):
        pusher = start(PUSH, endpoint, str(10**6 * turn), "1000000")
        got = read_some(puller, 20)
        pusher.kill()
        pusher.wait()
        while more := puller.read(0.2):
            got = [*got, *more]
        assert [e.pulse_id for e in got] == [10**6 * turn + i for i in range(len(got))]
        assert all((e.arrays["data"] == e.pulse_id).all() for e in got)
    assert puller.counters["malformed"] == puller.counters["lost"] == 0
    puller.close()


def test_an_endpoint_is_free_as_soon_as_its_process_was_killed(tmp_path: Path, start: Start) -> None:
    endpoint = ipc(tmp_path / "run", "a")
    victim = start(PULL, endpoint)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "ready\n"
    victim.kill()
    victim.wait()
    Puller(endpoint).close()


FRAMES = """
pusher = FramePusher(sys.argv[1], ring="jf", generation=5)
for i in range(200):
    frames = np.zeros(10, FRAME)
    frames["pulse_id"] = 10 * i + np.arange(10)
    frames["module"] = int(sys.argv[2])
    pusher.write(frames)
pusher.close(30)
print(pusher.counters["frames"])
"""


def test_frames_of_several_receivers(tmp_path: Path, start: Start) -> None:
    endpoint = ipc(tmp_path / "run", "frames")
    receivers = [start(FRAMES, endpoint, str(module)) for module in range(3)]
    puller = FramePuller(endpoint, FRAME)
    pulses: dict[int, list[int]] = {0: [], 1: [], 2: []}
    end = time.monotonic() + 60
    while puller.counters["frames"] < 6000:
        assert time.monotonic() < end, puller.counters
        for batch in puller.read(0.5) or ():
            pulses[int(batch.frames["module"][0])] += batch.frames["pulse_id"].tolist()
    assert all(got == list(range(2000)) for got in pulses.values())
    assert [r.communicate(timeout=30)[0].strip() for r in receivers] == ["2000"] * 3
    assert puller.counters["lost_batches"] == puller.counters["before"] == 0
    puller.close()


def test_a_process_with_nobody_listening_ends_at_once(tmp_path: Path, start: Start) -> None:
    pusher = start(
        "pusher = Pusher(sys.argv[1])\npusher.write([event(1)])\npusher.close(0.2)",
        ipc(tmp_path / "run", "a"),
    )
    assert pusher.wait(timeout=30) == 0


def _event() -> Callable[[int], Event]:
    names: dict[str, Callable[[int], Event]] = {}
    exec(PRELUDE, names)  # the very function that the processes use
    return names["event"]
