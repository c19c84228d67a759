"""What a connection to RabbitMQ makes of a message that is refused, unroutable or not confirmed."""

import asyncio
from types import SimpleNamespace

import pytest
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from forebay.run.bus import rabbit_line
from forebay.run.bus.rabbit_line import Session

pytestmark = pytest.mark.unit


async def raising(error):
    raise error


async def never():
    await asyncio.Event().wait()


def outcome(publishing):
    """Return the class of the error and whether the session is given up."""

    async def run():
        session = Session(SimpleNamespace(close_callbacks=set()))
        try:
            await session.confirmed(publishing)
        except (ConnectionError, DeliveryError) as error:
            return type(error), session.lost.is_set()
        return None, session.lost.is_set()

    return asyncio.run(run())


def test_a_confirmed_message_is_all():
    assert outcome(asyncio.sleep(0)) == (None, False)


def test_a_channel_that_refuses_is_given_up():
    """Its queue had lost its leader when the channel was opened: it would refuse for ever."""
    assert outcome(raising(DeliveryError(None, None))) == (ConnectionError, True)


def test_nobody_who_takes_it_is_no_reason_to_give_up():
    returned = SimpleNamespace(delivery=Basic.Return(312, "NO_ROUTE", "request", "job.x"))
    assert outcome(raising(PublishError(returned, None))) == (PublishError, False)


def test_silence_is_one(monkeypatch):
    monkeypatch.setattr(rabbit_line, "CONFIRM_S", 0.0)
    assert outcome(never()) == (ConnectionError, True)
