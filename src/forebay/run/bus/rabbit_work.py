"""One worker's end of a queue of RabbitMQ; what it has in hand outlives the broker's limit for that.

A broker takes back what was not acknowledged for some time (30 minutes, unless configured otherwise) and
gives it to another worker. Long before, a worker puts a copy of its request into a queue that only it
consumes, takes it in hand there, and acknowledges the first. The copy of a worker that died waits in that
queue for `HELD_S` and then goes back to the queue that it came from.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.exceptions import AMQPError

from forebay.errors import BusError
from forebay.ports import Message
from forebay.run.bus.inbox import Inbox
from forebay.run.bus.rabbit_find import find
from forebay.run.bus.rabbit_line import RabbitLine, Session
from forebay.run.bus.rabbit_text import copy_of, from_amqp, is_again

LOG = logging.getLogger("forebay.bus")

RENEW_S = 600.0
"""A request in hand is renewed so often; brokers look for 30 minutes."""

HELD_S = 10.0
"""The renewed request of a worker that died goes back to its queue after so long."""

_UNUSED_S = 86_400.0


class RabbitWork:
    """A `forebay.ports.WorkQueue`.

    Attributes
    ----------
    n_malformed:
        Requests of others that were no JSON objects with an id: thrown away, and told in the log.
    """

    def __init__(self, line: RabbitLine, patience_s: float, queue: str, renew_s: float) -> None:
        self._line = line
        self._patience_s = patience_s
        self._queue = queue
        self._renew_s = renew_s
        self._hold_queue = f"held.{queue}.{uuid.uuid4().hex}"
        self._holds = False
        self._inbox: Inbox[RabbitDelivery] = Inbox()
        self._in_hand: RabbitDelivery | None = None
        self._joined = False
        self._consumer = ""
        self.n_malformed = 0

    # --- for the worker

    def take(self, timeout: float) -> RabbitDelivery | None:
        """See `forebay.ports.WorkQueue.take`; the request in hand must be done or given back before.

        Raises
        ------
        BusError
            If the queue was not declared, the last request is still in hand, or the broker cannot be reached.
        """
        end = time.monotonic() + timeout
        if self._in_hand is not None and not self._inbox:
            raise BusError(
                f"This worker of {self._queue} has a request in hand.", "Acknowledge or reject it first."
            )
        if not self._joined:
            self._line.join(self, self._patience_s)
            self._joined = True
        elif not self._consumer:
            self._line.do(self._consume, self._patience_s)
        return self._inbox.get(max(0.0, end - time.monotonic()))

    def conclude(self, delivery: RabbitDelivery, requeue: bool | None) -> None:
        """Tell the broker what became of the request in hand: done for None.

        Raises
        ------
        BusError
            If the broker cannot be reached, or took the request back when a connection was lost.
        """

        async def conclude(session: Session) -> None:
            if delivery.session is not session:
                self._in_hand = None
                raise BusError(
                    f"The request {delivery.message.id} in hand of a worker of {self._queue} went back to "
                    "its queue when the connection to the message broker was lost.",
                    "It may come again, marked as redelivered.",
                )
            await delivery.settle(requeue)

        try:
            self._line.do(conclude, self._patience_s)
        finally:
            delivery.stop_renewing()
        self._in_hand = None

    def close(self) -> None:
        """See `forebay.ports.WorkQueue.close`."""
        self._inbox.close()
        if self._joined:
            self._joined = False
            if self._in_hand is not None:
                self._in_hand.stop_renewing()
            self._line.leave(self)

    # --- in the loop

    async def begin(self, session: Session) -> None:
        """Take part on this connection; what was in hand on the last one is looked for first."""
        self._session = session
        self._channel = await session.watched_channel(publisher_confirms=False)
        await self._channel.set_qos(prefetch_count=1)
        self._consumer = ""
        if self._in_hand is None:
            await self._consume(session)
        elif self._inbox:  # not seen by the worker yet
            self._inbox.clear()
            self._in_hand = None
            await self._consume(session)
        else:
            await self._take_back(session, self._in_hand)

    async def end(self, session: Session) -> None:
        """Take part no more; what is in hand goes back."""
        if self._in_hand is not None and self._in_hand.hold_channel is not None:
            await self._in_hand.settle(requeue=True)
        await session.close_channel(self._channel)

    async def _take_back(self, session: Session, delivery: RabbitDelivery) -> None:
        for queue in ([self._hold_queue] if self._holds else []) + [self._queue]:
            channel = self._channel if queue == self._queue else await self._open_hold(session)
            found = await find(session, channel, queue, delivery.message.id)
            if found is not None:
                delivery.found, delivery.session = found, session
                delivery.hold_channel = channel if queue == self._hold_queue else None
                LOG.info("the request in hand was kept", extra={"fields": {"id": delivery.message.id}})
                return
        LOG.warning(
            "the request in hand went back to its queue", extra={"fields": {"id": delivery.message.id}}
        )

    async def _consume(self, session: Session) -> None:
        await session.check_queue(self._queue)
        queue = await self._channel.get_queue(self._queue, ensure=False)
        self._consumer = await queue.consume(self._hear)

    async def _hear(self, found: AbstractIncomingMessage) -> None:
        try:
            message = from_amqp(found)
        except BusError as error:
            self.n_malformed += 1
            LOG.warning("a request is thrown away", extra={"fields": {"queue": self._queue, "reason": error}})
            await found.reject(requeue=False)
            return
        self._in_hand = RabbitDelivery(self, found, self._session, message)
        self._in_hand.renewing = asyncio.ensure_future(self._renew_again(self._in_hand))
        self._inbox.put(self._in_hand)

    async def _renew_again(self, delivery: RabbitDelivery) -> None:
        while True:
            await asyncio.sleep(self._renew_s)
            try:
                await self._renew(delivery)
            except (AMQPError, OSError, RuntimeError, BusError) as error:
                LOG.warning("a request in hand was not renewed", extra={"fields": {"reason": error}})

    async def _renew(self, delivery: RabbitDelivery) -> None:
        """Hold a copy of the request in hand, and acknowledge the one held so far."""
        session = self._session
        if delivery.session is not session or session.lost.is_set():
            return
        if self._consumer:  # else the broker would give us the next one for the one acknowledged
            consumer, self._consumer = self._consumer, ""
            queue = await self._channel.get_queue(self._queue, ensure=False)
            await queue.cancel(consumer)
        channel = await self._open_hold(session)
        held: asyncio.Future[AbstractIncomingMessage] = asyncio.get_running_loop().create_future()

        async def hear(found: AbstractIncomingMessage) -> None:
            held.set_result(found)

        hold = await channel.get_queue(self._hold_queue, ensure=False)
        await hold.consume(hear)  # stays, so that the queue is in use as long as the request is in hand
        await session.confirmed(
            session.channel.default_exchange.publish(copy_of(delivery.found), self._hold_queue)
        )
        last, last_channel = delivery.found, delivery.hold_channel
        delivery.found, delivery.hold_channel = await asyncio.wait_for(held, HELD_S), channel
        await last.ack()
        if last_channel is not None:
            await session.close_channel(last_channel)
        LOG.debug("renewed %s", delivery.message.id)

    async def _open_hold(self, session: Session) -> AbstractChannel:
        """Return a channel that takes one more from the queue of our own, which is made if need be."""
        channel = await session.watched_channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=1)
        await channel.declare_queue(
            self._hold_queue,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-message-ttl": int(HELD_S * 1000),
                "x-expires": int(_UNUSED_S * 1000),
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self._queue,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )
        self._holds = True
        return channel


class RabbitDelivery:
    """A `forebay.ports.Delivery`."""

    def __init__(
        self, work: RabbitWork, found: AbstractIncomingMessage, session: Session, message: Message
    ) -> None:
        self._work = work
        self.found = found
        self.session = session
        self.message = message
        self.redelivered = is_again(found)
        self.renewing: asyncio.Future[None] | None = None
        self.hold_channel: AbstractChannel | None = None

    async def settle(self, requeue: bool | None) -> None:
        """Tell the broker: done for None, else given back or thrown away.

        The queue of our own gives what it refuses back to the queue that it came from.
        """
        if requeue is None or (self.hold_channel is not None and not requeue):
            await self.found.ack()
        else:
            await self.found.reject(requeue=self.hold_channel is None and requeue)
        await self.found.channel.basic_qos(prefetch_count=1)  # answered when all before it was read
        if self.hold_channel is not None:
            await self.session.close_channel(self.hold_channel)

    def stop_renewing(self) -> None:
        """End the renewals."""
        if self.renewing is not None:
            self.renewing.get_loop().call_soon_threadsafe(self.renewing.cancel)

    def ack(self) -> None:
        """See `forebay.ports.Delivery.ack`; raises as `RabbitWork.conclude`."""
        self._work.conclude(self, None)

    def reject(self, *, requeue: bool) -> None:
        """See `forebay.ports.Delivery.reject`; raises as `RabbitWork.conclude`."""
        self._work.conclude(self, requeue)
