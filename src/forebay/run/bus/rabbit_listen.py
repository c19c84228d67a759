"""Statuses and kills from RabbitMQ: each listener has a queue of its own that goes with it."""

from __future__ import annotations

import logging

from aio_pika.abc import AbstractIncomingMessage

from forebay.errors import BusError
from forebay.ports import Message
from forebay.run.bus.inbox import INBOX_MESSAGES, Inbox
from forebay.run.bus.pattern import matches
from forebay.run.bus.rabbit_line import RabbitLine, Session
from forebay.run.bus.rabbit_text import from_amqp
from forebay.run.bus.text import check_word

LOG = logging.getLogger("forebay.bus")

_QUEUE = {"x-max-length": INBOX_MESSAGES}


class RabbitSubscription:
    """A `forebay.ports.Subscription`.

    Attributes
    ----------
    n_malformed:
        Messages of others that were no JSON objects with an id.
    """

    def __init__(self, line: RabbitLine, patience_s: float, exchange: str, pattern: str) -> None:
        check_word("pattern", pattern)
        self._line = line
        self._exchange = exchange
        self._pattern = pattern
        self._inbox: Inbox[Message] = Inbox()
        self.n_malformed = 0
        self._n_begun = 0
        line.join(self, patience_s)

    async def begin(self, session: Session) -> None:
        """Listen on this connection."""
        channel = await session.watched_channel(publisher_confirms=False)
        queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments=dict(_QUEUE))
        await queue.bind(self._exchange, self._pattern)
        self._channel = channel
        await queue.consume(self._hear, no_ack=True)
        self._n_begun += 1

    async def end(self, session: Session) -> None:
        """Listen no more; the queue goes with its only listener."""
        await session.close_channel(self._channel)

    async def _hear(self, found: AbstractIncomingMessage) -> None:
        if not matches(self._pattern, found.routing_key or ""):
            return  # a fan-out knows no patterns
        try:
            self._inbox.put(from_amqp(found))
        except BusError as error:
            if self.n_malformed == 0:
                LOG.warning("a message of others is skipped", extra={"fields": {"reason": error}})
            self.n_malformed += 1

    @property
    def n_lost(self) -> int:
        """Messages that this listener missed because it did not read in time."""
        return self._inbox.n_lost

    @property
    def n_gaps(self) -> int:
        """See `forebay.ports.Subscription.n_gaps`: connections after the first, and messages missed."""
        return max(0, self._n_begun - 1) + self.n_lost

    def read(self, timeout: float) -> Message | None:
        """See `forebay.ports.Subscription.read`."""
        return self._inbox.get(timeout)

    def close(self) -> None:
        """See `forebay.ports.Subscription.close`."""
        self._inbox.close()
        self._line.leave(self)
