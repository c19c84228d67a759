"""A bus inside one process, for tests of those who use one: the same promises, no socket, no disk."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from forebay.errors import BusError, NoAnswerError, NoWorkerError
from forebay.ports import Message


def matches(pattern: str, key: str) -> bool:
    """Whether a pattern with ``*`` (one word) and ``#`` (any number of words) takes a key."""
    words = [
        {"*": r"\.[^.]+", "#": r"(\.[^.]+)*"}.get(word, re.escape(f".{word}")) for word in pattern.split(".")
    ]
    return re.fullmatch("".join(words), f".{key}") is not None


class MemoryBus:
    """See `forebay.ports.Bus`; `is_down` makes every request fail, `loses` makes so many vanish."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._patterns: dict[str, list[str]] = {}
        self._queues: dict[str, deque[tuple[Message, bool]]] = {}
        self._listeners: list[tuple[str, str, deque[Message]]] = []
        self._answering: dict[str, deque[tuple[Message, Any]]] = {}
        self.is_down = False
        self.loses = 0
        self.requests: list[Message] = []

    def reach(self, timeout: float) -> None:
        """It is always there."""

    def declare(self, queue: str, patterns: Sequence[str]) -> None:
        with self._change:
            self._queues.setdefault(queue, deque())
            self._patterns[queue] = list(patterns)

    def request(self, message: Message) -> None:
        if self.is_down:
            raise BusError("The bus is down.")
        with self._change:
            self.requests.append(message)
            taking = [
                q for q, patterns in self._patterns.items() if any(matches(p, message.key) for p in patterns)
            ]
            if not taking:
                raise NoWorkerError(f"Nobody takes {message.key}.")
            if self.loses:
                self.loses -= 1
                return
            for queue in taking:
                if message.id not in {waiting.id for waiting, _ in self._queues[queue]}:
                    self._queues[queue].append((message, False))
            self._change.notify_all()

    def work(self, queue: str) -> MemoryQueue:
        return MemoryQueue(self, queue)

    def withdraw(self, queue: str, id: str) -> bool:  # noqa: A002
        with self._change:
            waiting = self._queues.get(queue, deque())
            kept = [one for one in waiting if one[0].id != id]
            found = len(kept) < len(waiting)
            self._queues[queue] = deque(kept)
            return found

    def _tell(self, kind: str, message: Message) -> None:
        with self._change:
            for topic, pattern, heard in self._listeners:
                if topic == kind and matches(pattern, message.key):
                    heard.append(message)
            self._change.notify_all()

    def publish(self, message: Message) -> None:
        self._tell("status", message)

    def kill(self, message: Message) -> None:
        self._tell("kill", message)

    def statuses(self, pattern: str = "#") -> MemoryListener:
        return MemoryListener(self, "status", pattern)

    def kills(self, pattern: str = "#") -> MemoryListener:
        return MemoryListener(self, "kill", pattern)

    def call(self, message: Message, timeout: float) -> Message:
        answers: deque[Message] = deque()
        with self._change:
            if message.key not in self._answering:
                raise NoWorkerError(f"Nobody answers for {message.key}.")

            def reply(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
                with self._change:
                    answers.append(Message(message.key, message.id, body, headers or {}))
                    self._change.notify_all()

            self._answering[message.key].append((message, reply))
            self._change.notify_all()
            if not self._change.wait_for(lambda: answers, timeout):
                raise NoAnswerError(f"No answer for {message.key}.")
            return answers.popleft()

    def answer(self, key: str) -> MemoryAnswers:
        return MemoryAnswers(self, key)

    def close(self) -> None:
        pass


class _Inlet:
    """Something that is read from, until it is closed."""

    def __init__(self, bus: MemoryBus, items: deque[Any]) -> None:
        self._bus = bus
        self._items = items
        self._is_closed = False

    def read(self, timeout: float) -> Any:
        with self._bus._change:
            self._bus._change.wait_for(lambda: self._items or self._is_closed, timeout)
            return self._items.popleft() if self._items else None

    def _close(self) -> None:
        self._is_closed = True
        self._bus._change.notify_all()


class MemoryListener(_Inlet):
    n_gaps = 0

    def __init__(self, bus: MemoryBus, kind: str, pattern: str) -> None:
        super().__init__(bus, deque())
        self._entry = (kind, pattern, self._items)
        with bus._change:
            bus._listeners.append(self._entry)

    def close(self) -> None:
        with self._bus._change:
            self._close()
            self._bus._listeners[:] = [one for one in self._bus._listeners if one is not self._entry]


class MemoryAnswers(_Inlet):
    def __init__(self, bus: MemoryBus, key: str) -> None:
        with bus._change:
            if key in bus._answering:
                raise BusError(f"{key} is answered already.")
            super().__init__(bus, bus._answering.setdefault(key, deque()))
        self._key = key

    def close(self) -> None:
        with self._bus._change:
            self._close()
            self._bus._answering.pop(self._key, None)


class MemoryQueue:
    def __init__(self, bus: MemoryBus, queue: str) -> None:
        self._bus = bus
        self._queue = queue
        self._in_hand: MemoryDelivery | None = None

    def take(self, timeout: float) -> MemoryDelivery | None:
        with self._bus._change:
            if not self._bus._change.wait_for(lambda: self._bus._queues[self._queue], timeout):
                return None
            message, again = self._bus._queues[self._queue].popleft()
            self._in_hand = MemoryDelivery(self, message, again)
            return self._in_hand

    def close(self) -> None:
        if self._in_hand is not None:
            self._in_hand.reject(requeue=True)


class MemoryDelivery:
    def __init__(self, queue: MemoryQueue, message: Message, redelivered: bool) -> None:
        self._work = queue
        self.message = message
        self.redelivered = redelivered

    def ack(self) -> None:
        self._work._in_hand = None

    def reject(self, *, requeue: bool) -> None:
        self._work._in_hand = None
        if requeue:
            with self._work._bus._change:
                self._work._bus._queues[self._work._queue].appendleft((self.message, True))
                self._work._bus._change.notify_all()
