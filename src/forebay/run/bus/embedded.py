"""The bus of one host: requests, statuses, kills and calls through the hub."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from forebay.config import Config
from forebay.errors import BusError, NoAnswerError
from forebay.ports import Message
from forebay.run.bus import protocol as say
from forebay.run.bus.inbox import Inbox
from forebay.run.bus.link import RESEND_S, Link
from forebay.run.bus.text import check_word, decode_message, encode_message, stamped

_LEAVE_S = 1.0
"""A hub that is away is not waited for longer when an end leaves."""


class EmbeddedBus:
    """A `forebay.ports.Bus` through the hub of this host.

    Parameters
    ----------
    patience_s:
        Longest wait for the hub in each method.

    Raises
    ------
    ConfigError
        If the runtime directory is not this user's alone.
    """

    def __init__(self, config: Config, patience_s: float) -> None:
        self._link = Link(config.runtime_dir)
        self._patience_s = patience_s

    def reach(self, timeout: float) -> None:
        """See `forebay.ports.Bus.reach`."""
        self._link.ask(say.Ping(), timeout)

    def request(self, message: Message) -> None:
        """See `forebay.ports.Bus.request`."""
        token = uuid.uuid4().hex
        self._ask(say.Request(token, message.key, message.id, encode_message(message)))

    def declare(self, queue: str, patterns: Sequence[str]) -> None:
        """See `forebay.ports.Bus.declare`; patterns add to those that the queue has."""
        check_word("queue", queue)
        for pattern in patterns:
            check_word("pattern", pattern)
        self._ask(say.Declare(queue, list(patterns)))

    def work(self, queue: str) -> EmbeddedWork:
        """See `forebay.ports.Bus.work`."""
        return EmbeddedWork(self._link, self._patience_s, queue)

    def withdraw(self, queue: str, id: str) -> bool:  # noqa: A002
        """See `forebay.ports.Bus.withdraw`."""
        return self._ask(say.Withdraw(uuid.uuid4().hex, queue, id)).yes

    def publish(self, message: Message) -> None:
        """See `forebay.ports.Bus.publish`."""
        self._ask(say.Tell("status", message.key, encode_message(message)))

    def statuses(self, pattern: str = "#") -> EmbeddedSubscription:
        """See `forebay.ports.Bus.statuses`."""
        return EmbeddedSubscription(self._link, self._patience_s, "status", pattern)

    def kill(self, message: Message) -> None:
        """See `forebay.ports.Bus.kill`."""
        self._ask(say.Tell("kill", message.key, encode_message(message)))

    def kills(self, pattern: str = "#") -> EmbeddedSubscription:
        """See `forebay.ports.Bus.kills`."""
        return EmbeddedSubscription(self._link, self._patience_s, "kill", pattern)

    def call(self, message: Message, timeout: float) -> Message:
        """See `forebay.ports.Bus.call`."""
        end = time.monotonic() + timeout
        answers: Inbox[bytes] = Inbox()
        n = self._link.call(message.key, encode_message(message), timeout, answers.put)
        answer = answers.get(max(0.0, end - time.monotonic()))
        self._link.forget(n)
        if answer is None:
            raise NoAnswerError(
                f"The call for {message.key!r} was not answered in {timeout:g} s.",
                "The service that answers is there but busy or stuck: its log says more.",
            )
        return decode_message(answer)

    def answer(self, key: str) -> EmbeddedAnswers:
        """See `forebay.ports.Bus.answer`."""
        return EmbeddedAnswers(self._link, self._patience_s, key)

    def close(self) -> None:
        """See `forebay.ports.Bus.close`."""
        self._link.close()

    def _ask(self, word: say.Word) -> say.Done:
        return self._link.ask(word, self._patience_s)


class _End:
    """What all ends share: a number, and leaving."""

    def __init__(self, link: Link, patience_s: float) -> None:
        self._link = link
        self._patience_s = patience_s
        self._end = link.number()
        self._left = False

    def _stand(self, word: say.Word) -> None:
        self._link.stand(self._end, word)
        try:
            self._link.ask(word, self._patience_s)
        except BusError:
            self._link.detach(self._end)
            raise

    def _leave(self) -> None:
        if self._left:
            return
        self._left = True
        self._link.detach(self._end)
        try:
            self._link.ask(say.Leave(self._end), min(_LEAVE_S, self._patience_s))
        except BusError:
            return  # the hub is away, or this client has left it: it forgets this end with the client


class EmbeddedSubscription(_End):
    """A `forebay.ports.Subscription`; `n_lost` counts the messages that this listener missed."""

    def __init__(self, link: Link, patience_s: float, channel: str, pattern: str) -> None:
        check_word("pattern", pattern)
        super().__init__(link, patience_s)
        self._inbox: Inbox[bytes] = Inbox()
        self._next = 0
        self._n_restarts_before = link.n_restarts
        link.attach(self._end, self._hear)
        self._stand(say.Listen(self._end, channel, pattern))

    def _hear(self, told: say.Told | say.Handed | say.Called) -> None:
        if isinstance(told, say.Told):
            self._inbox.n_lost += max(0, told.i - self._next)
            self._next = told.i + 1
            self._inbox.put(told.message)

    @property
    def n_lost(self) -> int:
        """Messages that this listener missed."""
        return self._inbox.n_lost

    @property
    def n_gaps(self) -> int:
        """See `forebay.ports.Subscription.n_gaps`: hubs that were started anew, and messages missed."""
        return self._link.n_restarts - self._n_restarts_before + self.n_lost

    def read(self, timeout: float) -> Message | None:
        """See `forebay.ports.Subscription.read`."""
        text = self._inbox.get(timeout)
        return None if text is None else decode_message(text)

    def close(self) -> None:
        """See `forebay.ports.Subscription.close`."""
        self._inbox.close()
        self._leave()


class EmbeddedWork(_End):
    """A `forebay.ports.WorkQueue`."""

    def __init__(self, link: Link, patience_s: float, queue: str) -> None:
        check_word("queue", queue)
        super().__init__(link, patience_s)
        self._queue = queue
        self._inbox: Inbox[say.Handed] = Inbox()
        self._in_hand: int | None = None
        link.attach(self._end, self._hear)

    def _hear(self, handed: say.Told | say.Handed | say.Called) -> None:
        """Take what the hub hands us; it says it again when we ask again before we had it."""
        if isinstance(handed, say.Handed) and handed.seq != self._in_hand:
            self._in_hand = handed.seq
            self._inbox.put(handed)

    def take(self, timeout: float) -> EmbeddedDelivery | None:
        """See `forebay.ports.WorkQueue.take`; the request in hand must be done or given back before.

        Raises
        ------
        BusError
            If the queue was not declared, the last request is still in hand, or the hub cannot be reached.
        """
        end = time.monotonic() + timeout
        if self._in_hand is not None and not self._inbox:
            raise BusError(
                f"This worker of {self._queue} has a request in hand.", "Acknowledge or reject it first."
            )
        while (handed := self._inbox.get(0)) is None:
            self._link.ask(say.Take(self._queue, self._end), self._patience_s)
            left = end - time.monotonic()
            if (handed := self._inbox.get(min(max(left, 0.0), 4 * RESEND_S))) is not None:
                break
            if left <= 0 or self._left:
                return None
        return EmbeddedDelivery(self, handed)

    def conclude(self, word: say.Ack | say.Reject) -> None:
        """Tell the hub what became of the request in hand.

        Raises
        ------
        BusError
            If the hub cannot be reached, or gave the request to another worker meanwhile.
        """
        done = self._link.ask(word, self._patience_s)
        self._in_hand = None
        if not done.yes:
            raise BusError(
                f"The request in hand of a worker of {self._queue} went back to its queue.",
                "It comes again, marked as redelivered.",
            )

    @property
    def end(self) -> int:
        """The number of this end."""
        return self._end

    def close(self) -> None:
        """See `forebay.ports.WorkQueue.close`."""
        self._inbox.close()
        self._leave()


class EmbeddedDelivery:
    """A `forebay.ports.Delivery`."""

    def __init__(self, work: EmbeddedWork, handed: say.Handed) -> None:
        self._work = work
        self._seq = handed.seq
        self.redelivered = handed.redelivered
        self.message = decode_message(handed.message)

    def ack(self) -> None:
        """See `forebay.ports.Delivery.ack`; raises as `EmbeddedWork.conclude`."""
        self._work.conclude(say.Ack(self._work.end, self._seq))

    def reject(self, *, requeue: bool) -> None:
        """See `forebay.ports.Delivery.reject`; raises as `EmbeddedWork.conclude`."""
        self._work.conclude(say.Reject(self._work.end, self._seq, requeue))


class EmbeddedAnswers(_End):
    """A `forebay.ports.Answers`."""

    def __init__(self, link: Link, patience_s: float, key: str) -> None:
        check_word("key", key)
        super().__init__(link, patience_s)
        self._inbox: Inbox[say.Called] = Inbox()
        self._seen: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        link.attach(self._end, self._hear)
        self._stand(say.Answer(self._end, key))

    def _hear(self, called: say.Told | say.Handed | say.Called) -> None:
        """Take a call once: a caller says it again when the hub was slow."""
        if isinstance(called, say.Called) and (which := (called.caller, called.n)) not in self._seen:
            self._seen[which] = None
            if len(self._seen) > 1000:
                self._seen.popitem(last=False)
            self._inbox.put(called)

    def read(self, timeout: float) -> tuple[Message, EmbeddedReply] | None:
        """See `forebay.ports.Answers.read`."""
        called = self._inbox.get(timeout)
        if called is None:
            return None
        message = decode_message(called.message)
        return message, EmbeddedReply(partial(self._link.ask, timeout=self._patience_s), called, message)

    def close(self) -> None:
        """See `forebay.ports.Answers.close`."""
        self._inbox.close()
        self._leave()


class EmbeddedReply:
    """A `forebay.ports.Reply`."""

    def __init__(self, ask: partial[say.Done], called: say.Called, message: Message) -> None:
        self._ask = ask
        self._called = called
        self._message = message

    def __call__(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """See `forebay.ports.Reply`."""
        answer = stamped(Message(self._message.key, self._message.id, body, headers or {}))
        self._ask(say.Reply(self._called.caller, self._called.n, encode_message(answer)))
