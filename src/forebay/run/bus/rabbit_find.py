"""Finding one request among those that wait in a queue of RabbitMQ, which only knows the first."""

from __future__ import annotations

import asyncio

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.exceptions import ChannelLockedResource

from forebay.run.bus.rabbit_line import Session

SETTLE_S = 0.05
"""A broker puts requests back a moment after it was told to, and says nothing when it has."""

_AGAIN_S = 0.05


async def find(
    session: Session,
    channel: AbstractChannel,
    queue: str,
    id: str,  # noqa: A002
) -> AbstractIncomingMessage | None:
    """Take the request of that id out of those that wait, and put the others back in their order.

    Everybody else finds the queue empty meanwhile; so only one at a time looks, of all clients.
    """
    async with session.finding, session.connection.channel() as locker:
        await _lock(session, f"find.{queue}")
        try:
            place = await channel.get_queue(queue, ensure=False)
            found, others = None, []
            # To the end: what is put back comes behind what somebody put back before.
            while (message := await place.get(fail=False)) is not None:
                if found is None and message.correlation_id == id:
                    found = message
                else:
                    others.append(message)
            for message in others:
                await message.reject(requeue=True)
            await asyncio.sleep(SETTLE_S)
        finally:
            await locker.queue_delete(f"find.{queue}")
        return found


async def _lock(session: Session, name: str) -> None:
    """Make an exclusive queue, which only one client can have; the broker deletes it when that one dies."""
    while True:
        try:
            async with session.connection.channel() as trial:
                await trial.declare_queue(name, exclusive=True)
        except ChannelLockedResource:
            await asyncio.sleep(_AGAIN_S)
        else:
            return
