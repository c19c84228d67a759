"""RabbitMQ alone: the limit for acknowledgements, and clients that know nothing of forebay."""

import json
import time

import pika
import pytest

from forebay.errors import BusError
from forebay.run.bus.rabbit import RabbitBus

from .bus_stand import RabbitStand, drain, request, take
from .stand import wait_until

pytestmark = pytest.mark.system

LIMIT_S = 3


@pytest.fixture
def stand(rabbit, tmp_path):
    made = RabbitStand(tmp_path, rabbit)
    yield made
    made.close()


@pytest.fixture
def short_limit(rabbit):
    rabbit.tell(f"application:set_env(rabbit, consumer_timeout, {LIMIT_S * 1000}).")
    yield
    rabbit.tell("application:set_env(rabbit, consumer_timeout, 1800000).")


@pytest.fixture
def peer(stand):
    """A channel of another client library."""
    connection = pika.BlockingConnection(pika.URLParameters(stand.config.bus))
    yield connection.channel()
    connection.close()


def work_for(stand, seconds, renew_s):
    """Take a request, work on it, acknowledge it; a second worker waits meanwhile and returns what it got."""
    bus = RabbitBus(stand.config.bus, "slow", 20, renew_s=renew_s)
    stand.clients.append(bus)
    bus.declare("record", ["#"])
    bus.request(request(0))
    work = bus.work("record")
    delivery = take(work)
    other = stand.connect().work("record")
    bus.request(request(1))
    got = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if (found := other.take(left)) is not None:
            got.append(found.message.id)
            found.ack()
    return delivery, work, got, other


def test_a_long_job_outlives_the_limit(stand, short_limit):
    delivery, work, got, other = work_for(stand, 3 * LIMIT_S, renew_s=1.0)
    assert got == ["request-1"]
    delivery.ack()
    assert drain(other, 1) == []
    stand.connect().request(request(2))
    assert sorted(drain(work) + drain(other)) == ["request-2"]


def test_without_renewal_the_broker_takes_it_back(stand, short_limit):
    """What the renewal is for; and the worker is told."""
    delivery, _, got, _ = work_for(stand, 3 * LIMIT_S, renew_s=1000.0)
    assert got == ["request-1", "request-0"]
    with pytest.raises(BusError, match="went back to its queue"):
        delivery.ack()


def test_a_renewed_request_given_back_comes_again(stand, short_limit):
    delivery, work, _, other = work_for(stand, LIMIT_S, renew_s=1.0)
    delivery.reject(requeue=True)
    again = take(other)
    assert (again.message.id, again.message.key, again.redelivered) == ("request-0", "record.camera", True)
    assert again.message.body == {"i": 0}
    again.ack()
    work.close()


def test_a_client_of_psi_asks_and_hears(stand, peer):
    """As clients of std_daq_service do: a body of JSON, a correlation id, headers that need not be texts."""
    bus = stand.connect()
    bus.declare("detector_retrieve", ["detector.retrieve"])
    peer.queue_declare("mine", exclusive=True)
    peer.queue_bind("mine", "status", "#")
    body = json.dumps({"writer_type": 1, "channels": None, "url": "a\\/b"})
    peer.basic_publish(
        "request",
        "detector.retrieve",
        body,
        pika.BasicProperties(
            correlation_id="of-psi", timestamp=1_700_000_000, headers={"message": None, "n": 3}
        ),
    )
    work = bus.work("detector_retrieve")
    delivery = take(work)
    assert (delivery.message.id, delivery.message.key) == ("of-psi", "detector.retrieve")
    assert delivery.message.body == json.loads(body)
    assert delivery.message.headers == {"n": "3"}
    assert delivery.message.time_ns == 1_700_000_000 * 10**9
    bus.publish(request(7, "detector"))
    delivery.ack()

    def heard():
        _, properties, text = peer.basic_get("mine", auto_ack=True)
        return (properties, text) if properties else None

    properties, text = wait_until(heard, "a status")
    assert json.loads(text) == {"i": 7}
    assert properties.correlation_id == "request-7"
    assert properties.headers["action"] == "request"
    assert properties.delivery_mode == 2


@pytest.mark.parametrize("timestamp", [1_700_000_000_123, 1_700_000_000_123_456_789, 2**64 - 1, 0])
def test_times_of_others_in_other_units(stand, peer, timestamp):
    """The broker of SwissFEL writes nanoseconds where AMQP has seconds."""
    bus = stand.connect()
    bus.declare("record", ["#"])
    peer.basic_publish("request", "bs.x", "{}", pika.BasicProperties(correlation_id="x", timestamp=timestamp))
    delivery = take(bus.work("record"))
    if timestamp // 1_700_000_000 > 0 and timestamp < 2**63:
        assert delivery.message.time_ns == 1_700_000_000 * 10**9
    delivery.ack()


def test_garbage_of_others_is_thrown_away(stand, peer):
    bus = stand.connect()
    bus.declare("record", ["#"])
    listener = bus.statuses()
    peer.confirm_delivery()  # the broker has what it sent, before the bus sends something
    for text in (b"", b"\xff\xfe", b"[1]", b"{", b"null"):
        peer.basic_publish("request", "record.camera", text)
        peer.basic_publish("request", "record.camera", text, pika.BasicProperties(correlation_id="x"))
        peer.basic_publish("status", "", text, pika.BasicProperties(correlation_id="x"))
    bus.request(request(0))
    bus.publish(request(1))
    assert drain(bus.work("record")) == ["x", "request-0"]  # no bytes are an empty object
    assert [listener.read(10).id for _ in range(2)] == ["x", "request-1"]
    assert listener.n_malformed == 4


def test_exchanges_of_others_are_used_as_they_are(stand, peer):
    for name, kind in (("request", "topic"), ("status", "fanout"), ("kill", "topic")):
        peer.exchange_declare(name, kind)
    bus = stand.connect()
    bus.declare("record", ["#"])
    bus.request(request(0))
    assert drain(bus.work("record")) == ["request-0"]
    for name, kind in (("request", "topic"), ("status", "fanout"), ("kill", "topic")):
        peer.exchange_declare(name, kind)  # as an old client does at its start
