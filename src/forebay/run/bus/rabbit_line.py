"""One connection to a RabbitMQ, in an event loop in a thread of its own, and made again when it is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import Any, Protocol, TypeVar

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from forebay.config.base import masked
from forebay.errors import BusError
from forebay.run.bus.rabbit_address import addresses, check_files, is_final, reason, unreachable

LOG = logging.getLogger("forebay.bus")

EXCHANGES = {"request": "topic", "status": "fanout", "kill": "topic"}
"""As operators at PSI know them; durable here, unless they are there already."""

HEARTBEAT_S = 15
"""A broker or network that is silent for twice as long is taken for gone."""

CONFIRM_S = 3.0
"""Brokers confirm within milliseconds."""

_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_CALM_S = 5.0
_CONNECT_S = 5.0
_LEAVE_S = 1.0
_LOST = (*CONNECTION_EXCEPTIONS, ValueError)
"""What the libraries raise when a connection breaks; a ValueError where bytes mean nothing."""

logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # it tells again, with tracebacks, what we tell

T = TypeVar("T")


class End(Protocol):
    """Something that consumes: begun on each new connection, before any call may use that one."""

    async def begin(self, session: Session) -> None:
        """Start to consume on this connection."""
        ...

    async def end(self, session: Session) -> None:
        """Consume no more."""
        ...


class Session:
    """One life of the connection.

    Attributes
    ----------
    channel:
        For publishing: with confirms; what no queue takes raises `aio_pika.exceptions.PublishError`.
    exchanges:
        By name.
    since:
        When it began (monotonic).
    finding:
        Held while somebody looks through a queue.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self.lost = asyncio.Event()
        self.since = time.monotonic()
        self.finding = asyncio.Lock()
        self.exchanges: dict[str, AbstractExchange] = {}
        self.channel: AbstractChannel
        connection.close_callbacks.add(self._on_lost)

    def _on_lost(self, *_: Any) -> None:
        self.lost.set()

    async def open(self) -> None:
        """Open the channel and see that the exchanges are there."""
        self.channel = await self.watched_channel(publisher_confirms=True, on_return_raises=True)
        for name, kind in EXCHANGES.items():
            self.exchanges[name] = await self._exchange(name, kind)

    async def confirmed(self, publishing: Awaitable[T]) -> T:
        """Wait for the broker's word that it has a message; without it the session is as good as lost.

        A queue whose broker has just started may take a message and never say so. A channel that was opened
        while a queue of a cluster had lost its leader refuses all messages for it, until it is closed.
        """
        try:
            async with asyncio.timeout(CONFIRM_S):
                return await publishing
        except TimeoutError as error:
            self.lost.set()
            raise ConnectionError(f"a message was not confirmed in {CONFIRM_S:g} s") from error
        except aiormq.exceptions.PublishError:
            raise
        except aiormq.exceptions.DeliveryError as error:
            self.lost.set()
            raise ConnectionError("the broker refused to take a message") from error

    async def watched_channel(self, **options: bool) -> AbstractChannel:
        """Return a channel without which this session is as good as lost."""
        channel = await self.connection.channel(**options)
        channel.close_callbacks.add(self._on_channel_lost)
        return channel

    async def check_queue(self, queue: str) -> None:
        """Raise `BusError` if that queue was not declared."""
        try:
            async with self.connection.channel() as trial:
                await trial.get_queue(queue)
        except aiormq.exceptions.ChannelNotFoundEntity as error:
            raise BusError(f"There is no queue {queue!r}.", "Declare it first.") from error

    async def close_channel(self, channel: AbstractChannel) -> None:
        """Close a watched channel on purpose; what is in hand there goes back."""
        channel.close_callbacks.discard(self._on_channel_lost)
        await channel.close()

    def _on_channel_lost(self, _: Any, error: BaseException | None) -> None:
        if isinstance(error, aiormq.exceptions.ChannelClosed):
            LOG.warning("the broker closed a channel", extra={"fields": {"reason": error}})
            self.lost.set()

    async def _exchange(self, name: str, kind: str) -> AbstractExchange:
        try:
            async with self.connection.channel() as trial:
                await trial.declare_exchange(name, kind, durable=True)
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            LOG.warning(
                "an exchange is there with other properties; it is used as it is",
                extra={"fields": {"exchange": name, "reason": error}},
            )
        return await self.channel.get_exchange(name, ensure=False)


class RabbitLine:
    """A connection that several threads use; `aio_pika` runs in a thread of this object.

    Parameters
    ----------
    url:
        ``amqp://user:password@host:port,host:port/vhost``; ``amqps`` for TLS. Hosts of a cluster are tried
        in turn, the next when one is lost.
    name:
        Shown in the broker's list of connections.
    """

    def __init__(self, url: str, name: str) -> None:
        self._addresses = addresses(url)
        self._name = name
        self.shown = masked(url)
        self._ends: list[End] = []
        self._session: Session | None = None
        self._why = "it does not answer"
        self._refused = False
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)
        self._thread.start()
        self._keeping = asyncio.run_coroutine_threadsafe(self._keep_connected(), self._loop)

    # --- from other threads

    def do(self, what: Callable[[Session], Awaitable[T]], timeout: float) -> T:
        """Carry out `what` on the connection; on a new one again if it is lost meanwhile.

        Raises
        ------
        BusError
            If that was not possible within `timeout` seconds, or the broker refuses.
        """
        if self._closed:
            raise BusError("This end of the bus was closed.")
        future = asyncio.run_coroutine_threadsafe(self._do(what, time.monotonic() + timeout), self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise BusError("This end of the bus was closed.") from error

    def join(self, end: End, timeout: float) -> None:
        """Begin an end, on this connection and on all later ones; raises as `do`."""

        async def begin(session: Session) -> None:
            await end.begin(session)
            self.keep(end)

        self.do(begin, timeout)

    def keep(self, end: End) -> None:
        """Begin this end on all later connections."""
        if end not in self._ends:
            self._ends.append(end)

    def leave(self, end: End) -> None:
        """End this end, and begin it no more."""

        async def leave(session: Session) -> None:
            if end in self._ends:
                self._ends.remove(end)
            await end.end(session)

        try:
            self.do(leave, _LEAVE_S)
        except BusError as error:  # the broker is away, or this bus was closed: all ends went with it
            LOG.debug("leaving: %s", error)
            if end in self._ends:
                self._ends.remove(end)

    def close(self) -> None:
        """End; may be called twice."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _stop(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if self._session is not None:
            await asyncio.wait([asyncio.ensure_future(self._session.connection.close())], timeout=_CONNECT_S)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _do(self, what: Callable[[Session], Awaitable[T]], end: float) -> T:
        while True:
            session = await self._wait_session(end)
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    return await _unless_lost(session, what(session))
            except BusError:
                raise
            except TimeoutError as error:
                raise unreachable(self.shown, "it did not answer in time") from error
            except aiormq.exceptions.PublishError:
                raise
            except _LOST as error:
                await asyncio.sleep(0)  # the news of a lost connection may come behind the error
                if not self._is_lost(session):
                    raise _refusal(error) from error

    def _is_lost(self, session: Session) -> bool:
        return session.lost.is_set() or session.connection.is_closed or session.channel.is_closed

    async def _wait_session(self, end: float) -> Session:
        while self._session is None or self._is_lost(self._session):
            left = end - time.monotonic()
            if left <= 0 or self._refused or self._keeping.done():
                raise unreachable(self.shown, self._why)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, 0.1))
            except TimeoutError:
                continue
        return self._session

    async def _keep_connected(self) -> None:
        n_failures = 0
        while True:
            try:
                self._session = await self._connect_to_one()
            except (*_LOST, BusError) as error:
                self._why = reason(error)
                self._refused = is_final(error)
                if n_failures == 0:
                    LOG.warning(
                        "the message broker cannot be reached; trying again",
                        extra={"fields": {"broker": self.shown, "reason": self._why}},
                    )
                self._changed.set()
                await asyncio.sleep(_BACKOFF_S[min(n_failures, len(_BACKOFF_S) - 1)])
                n_failures += 1
                continue
            LOG.info("connected", extra={"fields": {"broker": masked(str(self._addresses[0]))}})
            self._refused = False
            self._changed.set()
            await self._session.lost.wait()
            if self._closed:
                return
            LOG.warning(
                "the message broker was lost", extra={"fields": {"broker": masked(str(self._addresses[0]))}}
            )
            self._turn()
            self._why = "the connection was lost"
            lost, self._session = self._session, None
            await self._end(lost)
            n_failures = 0 if time.monotonic() - lost.since > _CALM_S else n_failures + 1
            if n_failures:
                await asyncio.sleep(_BACKOFF_S[min(n_failures, len(_BACKOFF_S)) - 1])

    async def _connect_to_one(self) -> Session:
        """Connect to the first host that can be used, each being tried once."""
        n_others = len(self._addresses) - 1
        for _ in range(n_others):
            try:
                return await self._connect(_CONNECT_S / 2)
            except (*_LOST, BusError) as error:
                LOG.info(
                    "the next host of the message broker is tried",
                    extra={"fields": {"broker": masked(str(self._addresses[0])), "reason": reason(error)}},
                )
                self._turn()
        return await self._connect(_CONNECT_S)

    def _turn(self) -> None:
        self._addresses = [*self._addresses[1:], self._addresses[0]]

    async def _connect(self, timeout: float) -> Session:
        url = self._addresses[0]
        check_files(url)
        connection = await aio_pika.connect(
            url,
            timeout=timeout,
            heartbeat=HEARTBEAT_S,
            client_properties={"connection_name": self._name},
        )
        session = Session(connection)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await session.open()
                for end in list(self._ends):
                    await end.begin(session)
        except BaseException:
            await self._end(session)
            raise
        return session

    async def _end(self, session: Session) -> None:
        """Close what is left of a connection; its errors have been told already."""
        try:
            async with asyncio.timeout(1.0):
                await session.connection.close()
        except _LOST as error:
            LOG.debug("closing: %r", error)


async def _unless_lost(session: Session, what: Awaitable[T]) -> T:
    """Wait for `what`; `ConnectionError` as soon as the session is lost: some answers never come then."""
    task = asyncio.ensure_future(what)
    lost = asyncio.ensure_future(session.lost.wait())
    try:
        await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ConnectionError("the connection was lost")
        try:
            return task.result()
        except asyncio.CancelledError as error:  # what the library leaves behind when a connection breaks
            raise ConnectionError("the connection was lost") from error
    finally:
        lost.cancel()
        task.cancel()


def _refusal(error: BaseException) -> BusError:
    """Return what the broker's refusal means."""
    text = reason(error)
    if "ACCESS_REFUSED" in text:
        return BusError(f"The message broker refused: {text}.", "Give this user the right to it.")
    if "PRECONDITION_FAILED" in text:
        return BusError(
            f"The message broker has it with other properties: {text}.",
            "Delete the old one (rabbitmqctl delete_queue), or use another vhost.",
        )
    return BusError(f"The message broker refused: {text}.")
