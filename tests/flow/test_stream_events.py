"""Events published, subscribed, pushed and pulled, in one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from forebay.errors import OverwrittenError, StreamError, WireError
from forebay.event import Event, Reference
from forebay.stream.endpoint import ipc
from forebay.stream.zmq import Publisher, Puller, Pusher, Subscriber
from forebay.wire.envelope import encode

pytestmark = pytest.mark.flow

Keep = Callable[[Any], Any]


@pytest.fixture(params=["ipc", "tcp"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp://127.0.0.1:*" if request.param == "tcp" else ipc(tmp_path / "run", "events")


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Close at the end what is handed to it, twice."""
    with ExitStack() as stack:

        def keep(end: Any) -> Any:
            stack.callback(end.close)
            stack.callback(end.close)
            return end

        yield keep


def event(pulse_id: int, n: int = 4, reference: Reference | None = None) -> Event:
    data = np.full((n, n), pulse_id, np.uint32)
    return Event("jf", pulse_id, 1, {"data": data}, np.zeros(2, np.uint32), 128, reference)


def join(publisher: Publisher, *subscribers: Subscriber) -> None:
    """Publish until every subscriber is there, then until nothing is on its way."""
    for subscriber in subscribers:
        for _ in range(1000):
            publisher.write([event(0)])
            if subscriber.read(0.01):
                break
        else:
            raise AssertionError("the subscriber never got anything")
    publisher.write([event(1)])
    for subscriber in subscribers:
        read_until(subscriber, 1)


def read_until(source: Any, pulse_id: int) -> list[Event]:
    got: list[Event] = []
    while not got or got[-1].pulse_id != pulse_id:
        more = source.read(10)
        assert more, f"{len(got)} events came, not yet {pulse_id}"
        got += more
    return got


def test_what_is_published_arrives_with_its_pixels(endpoint: str, keep: Keep) -> None:
    publisher = keep(Publisher(endpoint))
    one, two = (keep(Subscriber(publisher.endpoint)) for _ in range(2))
    join(publisher, one, two)
    offered = publisher.counters["offered"]
    publisher.write([event(p, n=600) for p in range(10, 30)])
    for subscriber in (one, two):
        got = read_until(subscriber, 29)
        assert [e.pulse_id for e in got] == list(range(10, 30))
        for e in got:
            np.testing.assert_array_equal(e.arrays["data"], np.full((600, 600), e.pulse_id))
        counters = subscriber.counters
        assert counters["lost"] == counters["malformed"] == counters["duplicate"] == 0
        assert counters["before"] + counters["events"] == offered + 20
    assert publisher.counters["unwatched"] + publisher.counters["sent"] == offered + 20
    assert publisher.counters["congested"] == 0


def test_nobody_watching_costs_nothing_and_is_counted(endpoint: str, keep: Keep) -> None:
    class Untouchable(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise AssertionError("pixels were fetched for nobody")

    publisher = keep(Publisher(endpoint))
    publisher.write([replace(event(1), arrays=Untouchable(data=0))])
    assert publisher.counters["unwatched"] == publisher.counters["offered"] == 1


def test_a_slow_subscriber_misses_and_the_others_do_not(endpoint: str, keep: Keep) -> None:
    publisher = keep(Publisher(endpoint, hwm=4))
    fast, slow = (keep(Subscriber(publisher.endpoint, hwm=4)) for _ in range(2))
    join(publisher, fast, slow)
    before = slow.counters
    for p in range(100, 200):
        publisher.write([event(p, n=500)])
        read_until(fast, p)
    counters = publisher.counters
    assert 0 < counters["congested"] < counters["sent"]
    got = []
    while more := slow.read(0.5):
        got += more
    publisher.write([event(200)])
    got += read_until(slow, 200)
    assert fast.counters["lost"] == 0
    assert slow.counters["lost"] == 101 - len(got) > 0
    assert slow.counters["events"] - before["events"] == len(got)
    assert counters["offered"] == counters["sent"] + counters["unwatched"]


def test_latest_only_skips_to_the_newest(endpoint: str, keep: Keep) -> None:
    publisher = keep(Publisher(endpoint))
    subscriber = keep(Subscriber(publisher.endpoint, latest_only=True))
    witness = keep(Subscriber(publisher.endpoint))
    join(publisher, subscriber, witness)
    publisher.write([event(p) for p in range(10, 60)])
    read_until(witness, 59)
    got = read_until(subscriber, 59)
    counters = subscriber.counters
    assert len(got) < 50
    assert counters["skipped"] >= 50 - len(got)
    assert counters["received"] == counters["events"] + counters["skipped"]
    assert counters["lost"] == 0


def test_a_restarted_publisher_is_no_loss(tmp_path: Path, keep: Keep) -> None:
    endpoint = ipc(tmp_path / "run", "a")
    subscriber = keep(Subscriber(endpoint))
    for _ in range(3):
        publisher = Publisher(endpoint)
        join(publisher, subscriber)
        publisher.close()
    assert subscriber.counters["lost"] == subscriber.counters["duplicate"] == 0
    assert subscriber.counters["senders"] == 3


def test_gaps_duplicates_and_garbage_are_counted_and_survived(endpoint: str, keep: Keep) -> None:
    puller = keep(Puller(endpoint))
    with zmq.Context() as context, context.socket(zmq.PUSH) as raw:
        raw.connect(puller.endpoint)
        for n in (3, 4, 8, 8, 9):
            raw.send_multipart(encode(event(n), sequence=n, instance=1, pixels=True))
            raw.send_multipart([b"garbage"] * n)
        got = read_until(puller, 9)
        while puller.counters["malformed"] < 5:
            assert puller.read(10) == []
    assert [e.pulse_id for e in got] == [3, 4, 8, 9]
    assert puller.counters == {
        "received": 10,
        "events": 4,
        "malformed": 5,
        "skipped": 0,
        "unresolved": 0,
        "duplicate": 1,
        "lost": 3,
        "before": 3,
        "senders": 1,
    }


def test_bytes_that_are_not_even_zeromq_are_survived(keep: Keep) -> None:
    import socket

    puller = keep(Puller("tcp://127.0.0.1:*"))
    port = int(puller.endpoint.rpartition(":")[2])
    for junk in (b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)) * 40, b"\xff" + b"\x00" * 8 + b"\x7f"):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(junk)
    pusher = keep(Pusher(puller.endpoint))
    pusher.write([event(1)])
    assert [e.pulse_id for e in read_until(puller, 1)] == [1]


def test_a_part_that_is_too_large_is_refused_without_harm(keep: Keep) -> None:
    puller = keep(Puller("tcp://127.0.0.1:*"))
    with zmq.Context() as context, context.socket(zmq.PUSH) as raw:
        raw.linger = 0
        raw.connect(puller.endpoint)
        raw.send(bytes(9 * 2**20))
        pusher = keep(Pusher(puller.endpoint))
        pusher.write([event(1)])
        read_until(puller, 1)
    assert puller.counters["received"] == 1


def test_rate_limit_takes_the_newest(tmp_path: Path, keep: Keep) -> None:
    now = [0.0]
    publisher = keep(Publisher(ipc(tmp_path / "run", "a"), rate_hz=10, clock=lambda: now[0]))
    subscriber = keep(Subscriber(publisher.endpoint))
    for _ in range(1000):
        now[0] += 1
        publisher.write([event(1)])
        if subscriber.read(0.01):
            break
    now[0] += 10
    for batch in range(1000):  # 100 Hz for 10 s, two events a batch
        now[0] += 0.01
        publisher.write([event(10 + 2 * batch), event(11 + 2 * batch)])
    publisher.write([])
    now[0] += 1
    publisher.write([event(9999)])
    got = [e.pulse_id for e in read_until(subscriber, 9999) if e.pulse_id > 1]
    assert len(got) == 101
    assert all(p % 2 == 1 for p in got)
    assert subscriber.counters["lost"] == 0  # what the rate skips was never meant to come
    counters = publisher.counters
    assert counters["rate_limited"] == 2000 - 100
    assert counters["offered"] == counters["sent"] + counters["unwatched"] + counters["rate_limited"]


def test_unreadable_events_are_counted_and_seen_as_a_gap(endpoint: str, keep: Keep) -> None:
    class Overwritten(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise OverwrittenError("Pulse 5 has left the ring.")

    publisher = keep(Publisher(endpoint))
    subscriber = keep(Subscriber(publisher.endpoint))
    join(publisher, subscriber)
    unsendable = replace(event(6), arrays={"data": np.array([object()])})
    publisher.write([replace(event(5), arrays=Overwritten(data=0)), unsendable, event(7)])
    assert [e.pulse_id for e in read_until(subscriber, 7)] == [7]
    assert publisher.counters["unreadable"] == subscriber.counters["lost"] == 2


def test_references_are_resolved_on_this_host(tmp_path: Path, keep: Keep) -> None:
    ring = {n: event(100 + n) for n in (1, 3)}

    def resolve(e: Event) -> Event:
        assert e.reference is not None
        if e.reference.number not in ring:
            raise OverwrittenError(f"Pulse {e.pulse_id} has left the ring.")
        return ring[e.reference.number]

    puller = keep(Puller(ipc(tmp_path / "run", "a"), resolve=resolve))
    pusher = keep(Pusher(puller.endpoint))
    pusher.write([event(100 + n, reference=Reference("jf", 1, n)) for n in (1, 2, 3)] + [event(5)])
    got = read_until(puller, 5)
    assert got[:2] == [ring[1], ring[3]]
    np.testing.assert_array_equal(got[2].arrays["data"], event(5).arrays["data"])
    assert puller.counters["unresolved"] == 1


@pytest.mark.parametrize(
    ("transport", "pixels", "has_pixels"),
    [("ipc", None, False), ("ipc", True, True), ("tcp", None, True), ("tcp", False, False)],
)
def test_pixels_or_reference(
    transport: str, pixels: bool | None, has_pixels: bool, tmp_path: Path, keep: Keep
) -> None:
    puller = keep(Puller("tcp://127.0.0.1:*" if transport == "tcp" else ipc(tmp_path / "run", "a")))
    pusher = keep(Pusher(puller.endpoint, pixels=pixels))
    pusher.write([event(1, reference=Reference("jf", 1, 2))])
    (got,) = read_until(puller, 1)
    assert (list(got.arrays) == ["data"]) is has_pixels
    assert (got.reference is None) is has_pixels


def test_nothing_pushed_is_lost_when_the_reader_is_slow(endpoint: str, keep: Keep) -> None:
    from threading import Thread

    puller = keep(Puller(endpoint, hwm=3))
    pusher = keep(Pusher(puller.endpoint, hwm=3, timeout_s=30))
    thread = Thread(target=pusher.write, args=([event(p, n=400) for p in range(200)],))
    thread.start()
    got: list[Event] = []
    while len(got) < 200:
        more = puller.read(10, most=1)
        assert more
        got += more
    thread.join()
    assert [e.pulse_id for e in got] == list(range(200))
    assert pusher.counters == {"offered": 200, "sent": 200, "not_sent": 0}
    assert puller.counters["lost"] == 0


def test_a_reader_that_is_away_for_too_long_is_an_error(endpoint: str, keep: Keep) -> None:
    away = endpoint.replace("*", "9")  # the discard port: nobody is there
    pusher = keep(Pusher(away, hwm=2, timeout_s=0.05))
    with pytest.raises(StreamError, match="Nobody took event 2"):
        pusher.write([event(p) for p in range(5)])
    assert pusher.counters == {"offered": 5, "sent": 2, "not_sent": 3}
    pusher.close(linger=0.1)


def test_what_was_not_sent_is_a_gap_to_the_reader(tmp_path: Path, keep: Keep) -> None:
    endpoint = ipc(tmp_path / "run", "a")
    pusher = keep(Pusher(endpoint, hwm=2, timeout_s=0.5))
    with pytest.raises(StreamError, match="Nobody took event"):
        pusher.write([event(p) for p in range(5)])
    puller = keep(Puller(endpoint))
    assert [e.pulse_id for e in read_until(puller, 1)] == [0, 1]
    pusher.write([event(9)])
    read_until(puller, 9)
    assert puller.counters["lost"] == pusher.counters["not_sent"] == 3


def test_an_event_that_cannot_be_sent_is_raised_and_counted(endpoint: str, keep: Keep) -> None:
    puller = keep(Puller(endpoint))
    pusher = keep(Pusher(puller.endpoint))
    with pytest.raises(WireError):
        pusher.write([event(1), replace(event(2), source=""), event(3)])
    assert pusher.counters == {"offered": 3, "sent": 1, "not_sent": 2}


def test_closing_sends_what_waits(endpoint: str, keep: Keep) -> None:
    puller = keep(Puller(endpoint))
    pusher = Pusher(puller.endpoint)
    pusher.write([event(p, n=300) for p in range(50)])
    pusher.close()
    assert [e.pulse_id for e in read_until(puller, 49)] == list(range(50))


def test_closing_waits_for_a_reader_whose_queue_is_full(endpoint: str, keep: Keep) -> None:
    from threading import Thread

    puller = keep(Puller(endpoint, hwm=4))
    pusher = Pusher(puller.endpoint, hwm=100_000)
    pusher.write([event(p) for p in range(3000)])
    closing = Thread(target=pusher.close, args=(60,))
    closing.start()
    got: list[Event] = []
    while len(got) < 3000:
        more = puller.read(5, most=3)
        assert more, f"only {len(got)} of 3000 events came"
        got += more
    closing.join()
    assert [e.pulse_id for e in got] == list(range(3000))


def test_closing_gives_up_on_a_reader_that_stands_still(endpoint: str, keep: Keep) -> None:
    puller = keep(Puller(endpoint, hwm=4))
    pusher = Pusher(puller.endpoint, hwm=100_000)
    pusher.write([event(p) for p in range(3000)])
    pusher.close(0.1)


def test_closed_ends_say_so_and_leave_no_thread(endpoint: str) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names only

    for turn in range(4):
        puller = Puller(endpoint)
        pusher = Pusher(puller.endpoint)
        publisher = Publisher("tcp://127.0.0.1:*")
        subscriber = Subscriber(publisher.endpoint, publisher.endpoint)
        join(publisher, subscriber)
        pusher.write([event(1, n=400)])
        read_until(puller, 1)
        for end in (puller, pusher, publisher, subscriber):
            end.close()
        if turn == 0:
            at_rest = threads()  # pyzmq keeps one thread of its own, once it has lent memory
        assert threads() == at_rest
        assert puller.read(0) is None
        assert subscriber.read(1) is None
        for sink in (pusher, publisher):
            with pytest.raises(StreamError, match="was closed"):
                sink.write([event(1)])


def test_a_subscriber_needs_an_endpoint() -> None:
    with pytest.raises(StreamError, match="without an endpoint"):
        Subscriber()
    with pytest.raises(StreamError, match="is not an endpoint"):
        Subscriber("tcp://127.0.0.1:9", "nonsense")
