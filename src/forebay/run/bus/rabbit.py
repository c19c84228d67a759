"""The bus of many hosts: RabbitMQ, with the exchanges and messages that clients at PSI know."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from aiormq.abc import FieldValue
from aiormq.exceptions import PublishError

from forebay.errors import BusError, NoAnswerError, NoWorkerError
from forebay.ports import Message
from forebay.run.bus.rabbit_calls import RabbitAnswers, RabbitCalls, queue_of
from forebay.run.bus.rabbit_find import find
from forebay.run.bus.rabbit_line import RabbitLine, Session
from forebay.run.bus.rabbit_listen import RabbitSubscription
from forebay.run.bus.rabbit_text import AGAIN, to_amqp
from forebay.run.bus.rabbit_work import RENEW_S, RabbitWork
from forebay.run.bus.text import check_word

GUARD_S = 60.0
"""A request of the same id within so many seconds, from this process, is the same request."""

GRACE_S = 3.0
"""After a new connection calls are not refused for so long: those who answer may be behind us."""

_QUEUE: dict[str, FieldValue] = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
"""Replicated and on disk; newer brokers would throw a request away that came back 20 times."""


class RabbitBus:
    """A `forebay.ports.Bus` through RabbitMQ.

    Parameters
    ----------
    url:
        ``amqp://user:password@host:port/vhost``.
    name:
        Shown in the broker's list of connections.
    patience_s:
        Longest wait for the broker in each method.
    renew_s:
        A request in hand is acknowledged and held anew so often: brokers take back what was not
        acknowledged for 30 minutes.
    """

    def __init__(self, url: str, name: str, patience_s: float, renew_s: float = RENEW_S) -> None:
        self._line = RabbitLine(url, name)
        self._patience_s = patience_s
        self._renew_s = renew_s
        self._calls: RabbitCalls | None = None
        self._declared = _Declared()
        self._recent: OrderedDict[tuple[str, str], _Asked] = OrderedDict()

    def reach(self, timeout: float) -> None:
        """See `forebay.ports.Bus.reach`."""

        async def ask(session: Session) -> None:
            async with session.connection.channel():
                pass  # that the broker opened it is an answer: it may have died unnoticed, or hang

        self._line.do(ask, timeout)

    def request(self, message: Message) -> None:
        """See `forebay.ports.Bus.request`."""
        text = to_amqp(message)
        tries = 0

        async def publish(session: Session) -> None:
            nonlocal tries
            tries += 1
            if tries > 1:  # the broker may have the first
                text.headers[AGAIN] = 1
            await session.confirmed(session.exchanges["request"].publish(text, message.key))

        async def once(session: Session) -> None:
            now = time.monotonic()
            while self._recent and next(iter(self._recent.values())).since < now - GUARD_S:
                self._recent.popitem(last=False)
            which = (message.key, message.id)
            known = self._recent.get(which)
            if known is None or known.failed:
                known = _Asked(now, session, asyncio.ensure_future(publish(session)))
                self._recent[which] = known
            await asyncio.shield(known.task)

        try:
            self._line.do(once, self._patience_s)
        except PublishError as error:
            raise NoWorkerError(
                f"Nobody takes {message.key!r}.",
                "Start a service that does (`forebay status` shows what runs), or check the name.",
            ) from error

    def declare(self, queue: str, patterns: Sequence[str]) -> None:
        """See `forebay.ports.Bus.declare`; patterns add to those that the queue has."""
        check_word("queue", queue)
        for pattern in patterns:
            check_word("pattern", pattern)

        known = self._declared.patterns.get(queue, ())
        one = _Declared()
        one.patterns[queue] = (*known, *(pattern for pattern in patterns if pattern not in known))
        self._line.do(one.begin, self._patience_s)
        self._declared.patterns |= one.patterns
        self._line.keep(self._declared)

    def work(self, queue: str) -> RabbitWork:
        """See `forebay.ports.Bus.work`."""
        check_word("queue", queue)
        return RabbitWork(self._line, self._patience_s, queue, self._renew_s)

    def withdraw(self, queue: str, id: str) -> bool:  # noqa: A002
        """See `forebay.ports.Bus.withdraw`; looks through all that waits, so others wait meanwhile."""

        async def withdraw(session: Session) -> bool:
            await session.check_queue(queue)
            async with session.connection.channel() as channel:
                found = await find(session, channel, queue, id)
                if found is not None:
                    await found.ack()
                    await channel.set_qos(1)  # its answer says that the broker has read all before it
                return found is not None

        return self._line.do(withdraw, self._patience_s)

    def publish(self, message: Message) -> None:
        """See `forebay.ports.Bus.publish`."""
        self._tell("status", message)

    def statuses(self, pattern: str = "#") -> RabbitSubscription:
        """See `forebay.ports.Bus.statuses`."""
        return RabbitSubscription(self._line, self._patience_s, "status", pattern)

    def kill(self, message: Message) -> None:
        """See `forebay.ports.Bus.kill`."""
        self._tell("kill", message)

    def kills(self, pattern: str = "#") -> RabbitSubscription:
        """See `forebay.ports.Bus.kills`."""
        return RabbitSubscription(self._line, self._patience_s, "kill", pattern)

    def _tell(self, exchange: str, message: Message) -> None:
        text = to_amqp(message)

        async def tell(session: Session) -> None:
            await session.exchanges[exchange].publish(text, message.key, mandatory=False)

        self._line.do(tell, self._patience_s)

    def call(self, message: Message, timeout: float) -> Message:
        """See `forebay.ports.Bus.call`."""
        end = time.monotonic() + timeout
        if self._calls is None:
            calls = RabbitCalls()
            self._line.join(calls, timeout)
            self._calls = calls
        try:
            answer = self._line.do(partial(self._pass_on, self._calls, message, end), timeout + 1.0)
        except PublishError as error:
            raise NoWorkerError(
                f"Nobody answers for {message.key!r}.", "Start the service that does, or check the name."
            ) from error
        if answer is None:
            raise NoAnswerError(
                f"The call for {message.key!r} was not answered in {timeout:g} s.",
                "The service that answers is there but busy or stuck: its log says more.",
            )
        return answer

    async def _pass_on(
        self, calls: RabbitCalls, message: Message, end: float, session: Session
    ) -> Message | None:
        queue = queue_of(message.key)
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return None
            text = to_amqp(message, expiration=left)
            try:
                return await calls.call(session, queue, text, left)
            except PublishError:
                if time.monotonic() > session.since + GRACE_S:
                    raise
                await asyncio.sleep(0.1)

    def answer(self, key: str) -> RabbitAnswers:
        """See `forebay.ports.Bus.answer`."""
        check_word("key", key)
        return RabbitAnswers(self._line, self._patience_s, key)

    def close(self) -> None:
        """See `forebay.ports.Bus.close`."""
        self._line.close()


class _Declared:
    """The queues that were declared here, with their patterns: declared again on each new connection.

    A broker writes declarations to disk some seconds late: a power cut may take them.
    """

    def __init__(self) -> None:
        self.patterns: dict[str, Sequence[str]] = {}

    async def begin(self, session: Session) -> None:
        """Declare all."""
        async with session.connection.channel() as channel:
            for queue, patterns in list(self.patterns.items()):
                made = await channel.declare_queue(queue, durable=True, arguments=dict(_QUEUE))
                for pattern in patterns:
                    await made.bind("request", pattern)

    async def end(self, _: Session) -> None:
        """Nothing: queues stay."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was made here not long ago."""

    since: float
    session: Session
    task: asyncio.Task[None]

    @property
    def failed(self) -> bool:
        """Whether the broker has not got it, as far as we know."""
        if not self.task.done():
            return self.session.lost.is_set()
        return self.task.cancelled() or self.task.exception() is not None


def open_rabbit(url: str, name: str, patience_s: float) -> RabbitBus:
    """Return a bus through the broker at `url`; `BusError` if the URL is none."""
    try:
        return RabbitBus(url, name, patience_s)
    except ValueError as error:
        raise BusError(
            f"The bus is not the address of a broker: {error}.", "Write amqp://user:password@host/vhost."
        ) from error
