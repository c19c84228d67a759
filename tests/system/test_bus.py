"""What every bus keeps to: one suite for the embedded one and for RabbitMQ, with real brokers."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.errors import BusError, NoAnswerError, NoWorkerError
from forebay.ports import Message
from forebay.run.bus.text import MAX_MESSAGE_BYTES

from .bus_stand import BusStand, HubStand, RabbitStand, drain, request, take
from .rabbit import Rabbit
from .stand import PATIENCE_S, wait_until

pytestmark = pytest.mark.system

MANY = int(os.environ.get("FOREBAY_BUS_REQUESTS", "2000"))
"""Requests in the test of many; a long run has 10000 and more."""


@pytest.fixture(params=["embedded", "rabbitmq"])
def stand(request, tmp_path):
    if request.param == "embedded":
        made: BusStand = HubStand(tmp_path)
    else:
        broker: Rabbit = request.getfixturevalue("rabbit")
        made = RabbitStand(tmp_path, broker)
    yield made
    made.close()


@pytest.fixture
def bus(stand):
    return stand.connect()


@pytest.fixture
def queue(bus):
    bus.declare("record", ["record.*"])
    return "record"


def read(subscription):
    message = subscription.read(PATIENCE_S)
    assert message is not None
    return message


def test_requests_come_in_order_and_whole(bus, queue):
    sent = [request(i, text="Überlauf \x00 ∞", deep={"a": [1, 2.5, None, True]}) for i in range(50)]
    for message in sent:
        bus.request(message)
    work = bus.work(queue)
    for message in sent:
        delivery = take(work)
        got = delivery.message
        assert (got.key, got.id, got.body, got.headers) == (
            message.key,
            message.id,
            message.body,
            message.headers,
        )
        assert abs(got.time_ns - time.time_ns()) < 600e9
        assert not delivery.redelivered
        delivery.ack()
    assert work.take(0.1) is None


def test_a_worker_has_one_request_at_a_time(stand, bus, queue):
    for i in range(10):
        bus.request(request(i))
    slow, quick = bus.work(queue), stand.connect().work(queue)
    held = take(slow)
    assert held.message.id == "request-0"
    with pytest.raises(BusError, match="has a request in hand"):
        slow.take(0)
    assert drain(quick) == [f"request-{i}" for i in range(1, 10)]
    held.ack()


def test_keys_lead_to_queues(bus):
    bus.declare("one", ["detector.retrieve", "bs.*"])
    bus.declare("all", ["#"])
    bus.declare("deep", ["detector.#"])
    for i, key in enumerate(("bs.camera", "bs.a.b", "detector", "detector.retrieve")):
        bus.request(request(i, key))
    assert drain(bus.work("one")) == ["request-0", "request-3"]
    assert drain(bus.work("all")) == [f"request-{i}" for i in range(4)]
    assert drain(bus.work("deep")) == ["request-2", "request-3"]


def test_patterns_add_up(bus, queue):
    bus.declare(queue, ["convert"])
    bus.request(request(0))
    bus.request(request(1, "convert"))
    assert drain(bus.work(queue)) == ["request-0", "request-1"]


def test_a_request_without_a_queue_is_refused(bus, queue):
    with pytest.raises(NoWorkerError, match="Nobody takes 'convert'"):
        bus.request(request(0, "convert"))


def test_a_queue_that_was_not_declared_is_an_error(bus):
    with pytest.raises(BusError, match="no queue 'nothing'"):
        bus.work("nothing").take(0)


def test_requests_given_back_and_thrown_away(stand, bus, queue):
    for i in range(3):
        bus.request(request(i))
    work = bus.work(queue)
    delivery = take(work)
    delivery.reject(requeue=True)
    again = take(work)
    assert (again.message.id, again.redelivered) == ("request-0", True)
    again.reject(requeue=False)
    last = take(work)
    assert (last.message.id, last.redelivered) == ("request-1", False)
    work.close()  # with request-1 in hand
    work.close()
    assert drain(stand.connect().work(queue)) == ["request-1", "request-2"]


def test_statuses_go_to_all_who_listen(stand, bus):
    bus.publish(Message("job.1", "before", {}))
    everything = [stand.connect().statuses() for _ in range(2)]
    some = bus.statuses("job.*")
    for i, key in enumerate(("job.1", "other", "", "job.2")):
        bus.publish(Message(key, f"id-{i}", {"i": i}, {"action": "request_start", "source": "me"}))
    for listener in everything:
        got = [read(listener) for _ in range(4)]
        assert [message.body["i"] for message in got] == [0, 1, 2, 3]
        assert got[0].headers == {"action": "request_start", "source": "me"}
        assert listener.n_lost == 0
    assert [read(some).key for _ in range(2)] == ["job.1", "job.2"]
    some.close()
    bus.publish(Message("job.3", "after", {}))
    assert some.read(0.1) is None


def test_calls_are_answered(stand, bus):
    answers = stand.connect().answer("operator")
    with ThreadPoolExecutor(4) as callers:
        made = [callers.submit(bus.call, request(i, "operator"), PATIENCE_S) for i in range(20)]
        for _ in made:
            asked, reply = answers.read(PATIENCE_S)
            assert asked.key == "operator"
            reply({"twice": 2 * asked.body["i"]}, {"status": "done"})
        for i, one in enumerate(made):
            answer = one.result()
            assert (answer.body, answer.headers, answer.id) == (
                {"twice": 2 * i},
                {"status": "done"},
                f"request-{i}",
            )


def test_calls_end_when_nobody_answers(stand, bus):
    with pytest.raises(NoWorkerError, match="Nobody answers for 'operator'"):
        bus.call(request(0, "operator"), PATIENCE_S)
    answers = stand.connect().answer("operator")
    with pytest.raises(NoAnswerError, match=r"not answered in 0\.3 s"):
        bus.call(request(0, "operator"), 0.3)
    with pytest.raises(BusError, match="answered by another process already"):
        bus.answer("operator")
    answers.close()
    bus.answer("operator").close()
    with pytest.raises(NoWorkerError):
        bus.call(request(0, "operator"), PATIENCE_S)


def test_a_queued_request_is_withdrawn(stand, bus, queue):
    work = bus.work(queue)
    for i in range(6):
        bus.request(request(i))
    running = take(work)
    assert not bus.withdraw(queue, "request-0")
    assert bus.withdraw(queue, "request-3")
    assert not bus.withdraw(queue, "request-3")
    assert not bus.withdraw(queue, "unknown")
    running.ack()
    assert drain(work) == ["request-1", "request-2", "request-4", "request-5"]


def test_a_running_request_is_cancelled(stand, bus, queue):
    worker = stand.connect()
    kills = worker.kills("record.*")
    work = worker.work(queue)
    bus.request(request(0))
    running = take(work)
    bus.kill(Message("convert.camera", "request-0", {}))
    bus.kill(Message("record.camera", "request-0", {}))
    asked = read(kills)
    assert (asked.key, asked.id, dict(asked.body)) == ("record.camera", running.message.id, {})
    running.ack()


def test_the_same_request_twice_is_one(bus, queue):
    bus.request(request(0))
    bus.request(request(0))
    bus.request(request(1))
    assert drain(bus.work(queue)) == ["request-0", "request-1"]


def test_large_requests(bus, queue):
    text = "x" * (MAX_MESSAGE_BYTES - 1000)
    bus.request(request(0, text=text))
    with pytest.raises(BusError, match=f"{MAX_MESSAGE_BYTES} are allowed"):
        bus.request(request(1, text=text + 1000 * "x"))
    with pytest.raises(BusError, match="cannot be said in JSON"):
        bus.request(request(2, thing=object()))
    with pytest.raises(BusError, match="has no id"):
        bus.request(Message("record.camera", "", {}))
    with pytest.raises(BusError, match="200 are allowed"):
        bus.request(request(3, "k" * 201))
    work = bus.work(queue)
    delivery = take(work)
    assert delivery.message.body["text"] == text
    delivery.ack()
    assert drain(work) == []


def test_many_requests(stand, bus, queue):
    """Each comes once, whatever the number of those who ask and who work."""
    n_each = MANY // 8
    seen: list[str] = []
    stop = threading.Event()

    def ask(i_first):
        client = stand.connect()
        for i in range(i_first, i_first + n_each):
            client.request(request(i))

    def work_off():
        work = stand.connect().work(queue)
        while not stop.is_set():
            if (delivery := work.take(0.1)) is not None:
                seen.append(delivery.message.id)
                delivery.ack()

    with ThreadPoolExecutor(12) as threads:
        workers = [threads.submit(work_off) for _ in range(4)]
        asked = [threads.submit(ask, i * n_each) for i in range(8)]
        try:
            for one in asked:
                one.result()
            wait_until(lambda: len(seen) >= 8 * n_each, lambda: f"all: {len(seen)}", 100)
        finally:
            stop.set()
        for one in workers:
            one.result()
    assert sorted(seen) == sorted(f"request-{i}" for i in range(8 * n_each))


# --- what dies


def taken(worker):
    """Return what a worker said that it took."""
    return [json.loads(line) for line in worker.out.splitlines() if "redelivered" in line]


def test_a_killed_worker_loses_nothing(stand, bus, queue):
    bus.request(request(0))
    victim = stand.worker(queue, "hold")
    wait_until(lambda: taken(victim), lambda: str(victim))
    assert taken(victim) == [{"id": "request-0", "redelivered": False}]
    assert not bus.withdraw(queue, "request-0")
    victim.kill()
    work = bus.work(queue)
    delivery = take(work)
    assert (delivery.message.id, delivery.redelivered) == ("request-0", True)
    bus.request(request(1))
    delivery.ack()
    assert drain(work) == ["request-1"]


ASK_AND_DIE = """
import os, signal, sys
from pathlib import Path
from forebay.config import load
from forebay.ports import Message
from forebay.run.bus import connect
bus = connect(load(Path(sys.argv[1])))
bus.statuses()
bus.answer("operator")
bus.request(Message("record.camera", "request-1", {}))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_client_loses_nothing(stand, bus, queue):
    """What was requested stays, whoever asked; a listener and an answerer that died hinder nobody."""
    other = stand.worker(queue, "hold")
    bus.request(request(0))
    wait_until(lambda: taken(other), lambda: str(other))
    done = subprocess.run([sys.executable, "-c", ASK_AND_DIE, stand.config_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert drain(bus.work(queue)) == ["request-1"]
    answers = wait_until(lambda: answering(bus), "the key of the dead one")
    bus.publish(Message("job", "1", {}))
    answers.close()


def answering(bus):
    try:
        return bus.answer("operator")
    except BusError:
        return None


def test_requests_survive_the_broker(stand, bus, queue):
    for i in range(20):
        bus.request(request(i))
    stand.kill_broker()
    stand.start_broker()
    bus.request(request(20))
    assert drain(bus.work(queue), 2) == [f"request-{i}" for i in range(21)]


def test_the_broker_comes_back(stand, bus, queue):
    """Whoever listened, answered, worked or asked goes on by itself."""
    other = stand.connect()
    listener, kills, answers, work = (
        other.statuses(),
        other.kills(),
        other.answer("operator"),
        other.work(queue),
    )
    assert work.take(0.1) is None
    assert (listener.n_gaps, kills.n_gaps) == (0, 0)
    bus.reach(PATIENCE_S)
    stand.hold_broker()
    try:
        with pytest.raises(BusError):
            bus.reach(0.2)
    finally:
        stand.let_broker_go()
    bus.reach(PATIENCE_S)
    stand.kill_broker()
    with pytest.raises(BusError):
        bus.reach(0.2)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(bus.request, request(0))  # waits for the broker
        stand.start_broker()
        asked.result()
    delivery = take(work)
    assert delivery.message.id == "request-0"
    delivery.ack()

    def heard(tell, subscription):
        tell(Message("job", "1", {}))
        return subscription.read(0.2)

    wait_until(lambda: heard(bus.publish, listener), "a status")
    wait_until(lambda: heard(bus.kill, kills), "a kill")
    assert (listener.n_gaps, kills.n_gaps) == (1, 1)
    assert other.statuses().n_gaps == 0
    with ThreadPoolExecutor(1) as threads:
        called = threads.submit(bus.call, request(1, "operator"), PATIENCE_S)
        _, reply = answers.read(PATIENCE_S)
        reply({"still": "here"})
        assert called.result().body == {"still": "here"}


def test_a_request_in_hand_survives_the_broker(stand, bus, queue):
    bus.request(request(0))
    bus.request(request(1))
    work = bus.work(queue)
    delivery = take(work)
    stand.kill_broker()
    stand.start_broker()
    delivery.ack()
    assert drain(work, 1) == ["request-1"]


def test_a_missing_broker_is_an_error_that_helps(stand):
    stand.kill_broker()
    try:
        with pytest.raises(BusError, match=r"forebay serve hub|See that RabbitMQ runs") as caught:
            stand.connect(patience_s=0.5)
        assert "guest:guest" not in str(caught.value)
    finally:
        stand.start_broker()


def test_once_in_effect_while_workers_are_killed(stand, bus, queue, tmp_path):
    n = 60
    effects = tmp_path / "effects"
    effects.mkdir()
    for i in range(n):
        bus.request(request(i))
    workers = [stand.worker(queue, "work", effects, 0.03) for _ in range(3)]
    chance = random.Random(4)

    def n_done():
        return len(list(effects.iterdir()))

    for n_before in (10, 20, 30, 40):
        wait_until(lambda n=n_before: n_done() >= n, lambda: f"{n_done()} of {n}")
        which = chance.randrange(3)
        workers[which].kill()
        workers[which] = stand.worker(queue, "work", effects, 0.03)
    wait_until(lambda: n_done() == n, lambda: f"{n_done()} of {n}")
    assert bus.work(queue).take(0.5) is None
    said = [one for program in stand.programs if "worker" in str(program.words) for one in taken(program)]
    ids = [one["id"] for one in said]
    assert set(ids) == {f"request-{i}" for i in range(n)}
    doubled = {i for i in ids if ids.count(i) > 1}
    assert len(ids) - n <= 4, doubled  # only what a killed one had in hand
    assert {one["id"] for one in said if one["redelivered"]} >= doubled
