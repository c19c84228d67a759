"""The hub alone: hostile bytes, a second hub, a full disk, and clients of one host that do not agree."""

import os
import socket
import sqlite3
import time

import pytest
import zmq

from forebay.config import Config
from forebay.errors import BusError, StreamError
from forebay.run.bus import connect, link
from forebay.run.bus.hub import Hub, running_hub
from forebay.run.bus.presence import Presence
from forebay.run.bus.protocol import MAX_FRAME_BYTES, SOCKET, Leave, Ping, Said, encode

from .bus_stand import HubStand, drain, request, take
from .stand import Program, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def stand(tmp_path):
    made = HubStand(tmp_path)
    yield made
    made.close()


def test_garbage_on_the_socket(stand):
    bus = stand.connect()
    bus.declare("record", ["#"])
    path = stand.runtime_dir / SOCKET
    context = zmq.Context()
    good = bus._link.client.encode()
    frames = [b"", b"\xc1", os.urandom(100), b"\x90" * 10_000, encode(Said(1, Ping())), b"[1,2]"]
    for identity in (b"x", b"../../etc/passwd", b"0" * 32, b"\xff" * 32, good[:-1]):
        peer = context.socket(zmq.DEALER)
        peer.setsockopt(zmq.LINGER, 500)
        peer.setsockopt(zmq.IDENTITY, identity)
        peer.connect(f"ipc://{path}")
        for frame in frames:
            peer.send(frame)
            peer.send_multipart([frame, frame])
        peer.send(b"x" * (MAX_FRAME_BYTES + 1))
        peer.close()
    context.term()
    for junk in (
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(1000),
        b"\xff" + bytes(8) + b"\x7f" + os.urandom(53),
    ):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(path))
            raw.send(junk)
    bus.request(request(0))
    assert drain(bus.work("record")) == ["request-0"]
    assert stand.hub.lives
    done = stand.hub.stop()
    assert done.code == 0
    assert "foreign=" in done.err
    assert "Traceback" not in done.err


def test_malformed_words_of_a_client_are_counted(tmp_path, stand):
    config = stand.config.model_copy(
        update={"state_dir": tmp_path / "other", "runtime_dir": tmp_path / "run"}
    )
    with running_hub(config) as hub:
        bus = connect(config)
        link = bus._link
        pending = link._outbox
        for junk in (
            b"",
            b"\xc1",
            os.urandom(64),
            encode([1, ["Nothing", 2]]),
            encode([1, ["Take", 1, "x"]]),
        ):
            one = type("Junk", (), {"frame": junk, "said_at": 0.0})()
            pending.append(one)
        bus.declare("record", ["#"])
        wait_until(lambda: hub.counters["malformed"] == 5, lambda: str(hub.counters))
        bus.close()


def test_the_farewell_of_a_client_that_is_gone_already_is_not_foreign(tmp_path, stand):
    config = stand.config.model_copy(
        update={"state_dir": tmp_path / "other", "runtime_dir": tmp_path / "run"}
    )
    client = "ab" * 16
    with running_hub(config) as hub, zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        presence = Presence(config.runtime_dir, client)
        peer.setsockopt(zmq.IDENTITY, client.encode())
        peer.connect(f"ipc://{config.runtime_dir / SOCKET}")
        peer.send(encode(Said(1, Ping())))
        wait_until(lambda: client in hub._clients, "the hub knows it")
        presence.close()
        wait_until(lambda: client not in hub._clients, "the hub sees that it is gone")
        peer.send(encode(Said(2, Leave(0))))
        wait_until(lambda: hub.counters["afterwards"] == 1, lambda: str(hub.counters))
        assert hub.counters["foreign"] == 0


def test_a_second_hub_is_refused(stand, tmp_path):
    with pytest.raises(StreamError, match="in use by another process"):
        Hub(stand.config)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    same_state = stand.config.model_copy(update={"runtime_dir": tmp_path / "elsewhere"})
    with pytest.raises(BusError, match="Another hub keeps its journal"):
        Hub(same_state)
    done = Program(stand.hub.words, tmp_path / "second-hub").wait()
    assert done.code == 1
    assert "in use by another process" in done.err
    stand.connect().declare("still", ["here"])


def test_two_hubs_for_two_directories(stand, tmp_path):
    other = stand.config.model_copy(
        update={"runtime_dir": tmp_path / "run", "state_dir": tmp_path / "other-state"}
    )
    here = stand.connect()
    here.declare("record", ["#"])
    with running_hub(other):
        there = connect(other)
        there.declare("record", ["#"])
        here.request(request(0))
        there.request(request(1))
        assert drain(here.work("record")) == ["request-0"]
        assert drain(there.work("record")) == ["request-1"]
        there.close()


def test_the_same_request_of_two_clients_is_one(stand):
    one, two = stand.connect(), stand.connect()
    one.declare("record", ["#"])
    for bus in (one, two, two):
        bus.request(request(0))
    work = one.work("record")
    delivery = take(work)
    two.request(request(0))  # in hand: the bus still has it
    delivery.ack()
    assert drain(work) == []
    two.request(request(0))
    assert drain(work) == ["request-0"]  # it was done: this is asked anew, and the table of jobs decides


def test_a_journal_that_cannot_be_used(stand, tmp_path):
    path = tmp_path / "bad"
    path.mkdir()
    config = Config(runtime_dir=tmp_path / "run", state_dir=path)
    (path / "bus.sqlite").write_bytes(os.urandom(5000))
    with pytest.raises(BusError, match=r"bus\.sqlite cannot be used"):
        Hub(config)
    (path / "bus.sqlite").unlink()
    base = sqlite3.connect(path / "bus.sqlite")
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(BusError, match="has version 99"):
        Hub(config)


def test_a_full_disk_refuses_requests_and_nothing_else(stand, tmp_path):
    config = Config(runtime_dir=tmp_path / "run", state_dir=tmp_path / "full")
    with running_hub(config) as hub:
        bus = connect(config)
        bus.declare("record", ["#"])
        bus.request(request(0))
        listener = bus.statuses()
        pages = hub._journal._base.execute("PRAGMA page_count").fetchone()[0]
        hub._journal._base.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(BusError, match="cannot be used: database or disk is full"):
            bus.request(request(1, text=1_000_000 * "x"))
        bus.publish(request(1))
        assert listener.read(10) is not None
        hub._journal._base.execute("PRAGMA max_page_count = 1000000")
        bus.request(request(1000))
        ids = drain(bus.work("record"))
        assert ids[0] == "request-0"
        assert ids[-1] == "request-1000"
        bus.close()


def test_a_slow_listener_knows_what_it_missed(stand):
    bus = stand.connect()
    listener = stand.connect().statuses()
    listener._inbox._size = 10
    for i in range(30):
        bus.publish(request(i))
    wait_until(lambda: listener.n_lost == 20, lambda: str(listener.n_lost))
    assert listener.read(0).id == "request-20"


def test_a_hub_that_is_away_is_waited_for(stand):
    bus = stand.connect(patience_s=0.3)
    stand.kill_broker()
    began = time.monotonic()
    with pytest.raises(BusError, match=r"did not answer in 0\.3 s\. Start it: .forebay run"):
        bus.declare("record", ["#"])
    assert time.monotonic() - began >= 0.3


def test_what_is_told_before_listeners_are_back_is_told_again(stand, monkeypatch):
    """A hub that was started anew does not know them yet; they hear what it told since, once and in order."""
    with monkeypatch.context() as patch:
        patch.setattr(link, "PING_S", 3.0)  # they notice late that there is another hub
        listeners = stand.connect()
        news, kills = listeners.statuses("job.#"), listeners.kills()
        wait_until(lambda: listeners._link._session, "the first ping")
    stand.kill_broker()
    stand.start_broker()
    bus = stand.connect()
    for i in range(20):
        bus.publish(request(i, "job.record"))
        bus.publish(request(i, "service.x"))
    bus.kill(request(100, "job.record"))
    found = [news.read(10).id for _ in range(20)]
    assert found == [f"request-{i}" for i in range(20)]
    assert kills.read(10).id == "request-100"
    assert news.read(0.2) is None
    assert news.n_gaps == 1
    late = stand.connect().statuses()
    assert late.read(0.2) is None  # who begins to listen hears what comes from now on
