"""What SSDAQ's listeners keep for somebody who does not fetch is bounded, counted and said."""

import asyncio
import logging
from contextlib import closing

import pytest
from tests.waiting import until

from forebay.errors import ConfigError
from forebay.front.ssdaq import AsyncSubscriber, BasicSubscriber, SSReadoutListener
from forebay.front.ssdaq.publisher import ZMQReadoutPublisher
from forebay.front.ssdaq.readout import SSReadout
from forebay.front.ssdaq.waiting import Waiting
from forebay.stream.message_publisher import MessagePublisher

pytestmark = pytest.mark.flow


def port_of(publisher):
    return int(publisher.endpoint.rpartition(":")[2])


def said(caplog):
    return [one for one in caplog.records if "oldest ones are dropped" in one.message]


def test_readouts_that_nobody_fetches_make_room_for_newer_ones(caplog):
    publisher = ZMQReadoutPublisher("127.0.0.1", "*")
    listener = SSReadoutListener("127.0.0.1", port_of(publisher), most_waiting=3)
    listener.start()
    with closing(publisher):
        until(publisher.count_subscribers)
        for i in range(1, 11):
            publisher.publish(SSReadout(i, i))
        until(lambda: listener.counters["received"] == 10 and listener.n_dropped == 7)
        assert [listener.get_readout().readout_number for _ in range(3)] == [8, 9, 10]
        assert listener.counters["dropped"] == 7
        listener.close()
    assert len(said(caplog)) == 1


def test_who_gave_a_logger_is_told_there():
    told = []

    class Logger:
        def warning(self, text):
            told.append(text)

    waiting = Waiting(2, "mine", Logger())
    waiting.add([1, 2])
    assert (told, waiting.n_dropped) == ([], 0)
    waiting.add([3, 4, 5])
    waiting.add([6])
    assert waiting.take_all() == [5, 6]
    assert waiting.n_dropped == 4
    assert len(told) == 1
    assert "mine: 2 messages" in told[0]


@pytest.mark.parametrize("how", [SSReadoutListener, BasicSubscriber])
def test_a_bound_below_one_is_refused(how):
    with pytest.raises(ConfigError, match="cannot wait"):
        how("127.0.0.1", 9, most_waiting=0)


def test_coroutines_have_the_same_bound(caplog):
    caplog.set_level(logging.WARNING)

    async def listen(publisher):
        subscriber = AsyncSubscriber("127.0.0.1", port_of(publisher), most_waiting=2)
        await asyncio.to_thread(until, publisher.count_subscribers)
        publisher.send([bytes([i]) for i in range(10)])
        await asyncio.to_thread(until, lambda: subscriber.n_dropped == 8)
        found = [await subscriber.get_data() for _ in range(2)]
        await subscriber.close()
        return found, subscriber.n_dropped, await subscriber.get_data()

    with closing(MessagePublisher("127.0.0.1", "*")) as publisher:
        assert asyncio.run(listen(publisher)) == ([b"\x08", b"\x09"], 8, None)


def test_a_callback_that_fails_is_asked_again():
    async def listen(publisher):
        found, is_over = [], asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append("failed"))

        def take(message):
            if message == b"1":
                raise ValueError
            found.append(message)
            if message == b"2":
                is_over.set()

        subscriber = AsyncSubscriber("127.0.0.1", port_of(publisher), passoff_callback=take)
        await asyncio.to_thread(until, publisher.count_subscribers)
        publisher.send([b"0", b"1", b"2"])
        await asyncio.wait_for(is_over.wait(), 20)
        await subscriber.close()
        return found

    with closing(MessagePublisher("127.0.0.1", "*")) as publisher:
        assert asyncio.run(listen(publisher)) == [b"0", "failed", b"2"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_subscriber_whose_thread_has_failed():
    def fail(message):
        raise ValueError(message)

    async def listen(publisher):
        subscriber = AsyncSubscriber("127.0.0.1", port_of(publisher), unpack=fail)
        await asyncio.to_thread(until, publisher.count_subscribers)
        publisher.send([b"0"])
        found = await asyncio.wait_for(subscriber.get_data(), 20)
        await subscriber.close()
        return found

    with closing(MessagePublisher("127.0.0.1", "*")) as publisher:
        assert asyncio.run(listen(publisher)) is None
