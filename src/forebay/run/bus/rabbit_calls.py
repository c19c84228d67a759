"""Calls and answers through RabbitMQ: a queue for each key that is answered, one for the answers to us."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from forebay.errors import BusError
from forebay.ports import Message
from forebay.run.bus.inbox import Inbox
from forebay.run.bus.rabbit_line import RabbitLine, Session
from forebay.run.bus.rabbit_text import from_amqp, to_amqp

LOG = logging.getLogger("forebay.bus")


def queue_of(key: str) -> str:
    """Return the queue of who answers for a key."""
    return f"answer.{key}"


class RabbitCalls:
    """Where the answers to our calls come."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._queue = ""

    async def begin(self, session: Session) -> None:
        """Listen for answers on this connection."""
        channel = await session.watched_channel(publisher_confirms=False)
        queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        await queue.consume(self._hear, no_ack=True)
        self._queue = queue.name

    async def end(self, _: Session) -> None:
        """Nothing: it goes with the connection."""

    async def _hear(self, found: AbstractIncomingMessage) -> None:
        waiting = self._waiting.pop(found.message_id or "", None)
        if waiting is not None and not waiting.done():
            try:
                waiting.set_result(from_amqp(found))
            except BusError as error:
                waiting.set_exception(error)

    async def call(
        self, session: Session, queue: str, text: aio_pika.Message, timeout: float
    ) -> Message | None:
        """Send a call and wait for its answer; None if none came. `PublishError` if nobody answers."""
        text.message_id = uuid.uuid4().hex
        text.reply_to = self._queue
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[text.message_id] = answer
        try:
            await session.channel.default_exchange.publish(text, queue)
            done, _ = await asyncio.wait([answer], timeout=timeout)
            return answer.result() if done else None
        finally:
            self._waiting.pop(text.message_id, None)


class RabbitAnswers:
    """A `forebay.ports.Answers`."""

    def __init__(self, line: RabbitLine, patience_s: float, key: str) -> None:
        self._line = line
        self._patience_s = patience_s
        self._key = key
        self._inbox: Inbox[tuple[Message, RabbitReply]] = Inbox()
        line.join(self, patience_s)

    async def begin(self, session: Session) -> None:
        """Answer on this connection."""
        try:
            async with session.connection.channel() as trial:
                await trial.declare_queue(queue_of(self._key), exclusive=True, auto_delete=True)
            channel = await session.connection.channel(publisher_confirms=False)
            queue = await channel.get_queue(queue_of(self._key), ensure=False)
            await queue.consume(self._hear, no_ack=True, exclusive=True)
        except (ChannelLockedResource, ChannelAccessRefused) as error:
            raise BusError(
                f"Calls for {self._key!r} are answered by another process already.",
                "Stop that one, or use another key.",
            ) from error
        self._channel = channel

    async def end(self, session: Session) -> None:
        """Answer no more; the queue goes with us."""
        await session.close_channel(self._channel)

    async def _hear(self, found: AbstractIncomingMessage) -> None:
        try:
            message = from_amqp(found)
        except BusError as error:
            LOG.warning("a call is skipped", extra={"fields": {"reason": error}})
            return
        if found.reply_to:
            reply = RabbitReply(self._line, self._patience_s, found.reply_to, found.message_id or "", message)
            self._inbox.put(
                (Message(self._key, message.id, message.body, message.headers, message.time_ns), reply)
            )

    def read(self, timeout: float) -> tuple[Message, RabbitReply] | None:
        """See `forebay.ports.Answers.read`."""
        return self._inbox.get(timeout)

    def close(self) -> None:
        """See `forebay.ports.Answers.close`."""
        self._inbox.close()
        self._line.leave(self)


class RabbitReply:
    """A `forebay.ports.Reply`."""

    def __init__(self, line: RabbitLine, patience_s: float, queue: str, call: str, asked: Message) -> None:
        self._line = line
        self._patience_s = patience_s
        self._queue = queue
        self._call = call
        self._asked = asked

    def __call__(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """See `forebay.ports.Reply`."""
        text = to_amqp(Message(self._asked.key, self._asked.id, body, headers or {}), message_id=self._call)

        async def reply(session: Session) -> None:
            await session.channel.default_exchange.publish(text, self._queue, mandatory=False)

        self._line.do(reply, self._patience_s)
