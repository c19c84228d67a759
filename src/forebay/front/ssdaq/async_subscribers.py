"""Subscribers of SSDAQ 0.9 for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from forebay.front.ssdaq.records import log_record
from forebay.front.ssdaq.subscribers import (
    BasicMonSubscriber,
    BasicSSReadoutSubscriber,
    BasicSubscriber,
    BasicTelDataSubscriber,
    BasicTimestampSubscriber,
    BasicTriggerSubscriber,
    LogProtoSubscriber,
    Unpack,
)
from forebay.front.ssdaq.waiting import MOST_WAITING, Waiting


class _Passing(BasicSubscriber):
    """Hands what comes to a loop, which is asked once for all that it has not taken yet."""

    def __init__(
        self,
        ip: str,
        port: int,
        unpack: Unpack | None,
        logger: object,
        most_waiting: int,
        loop: asyncio.AbstractEventLoop,
        hand_on: Callable[[list[Any]], None],
        end: Callable[[], None],
    ) -> None:
        super().__init__(ip, port, unpack, logger, most_waiting=most_waiting)
        self._loop = loop
        self._hand_on = hand_on
        self._end = end

    def run(self) -> None:
        """Take what comes; however that ends, the loop is told, where somebody may wait for more."""
        try:
            super().run()
        finally:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._end)

    def _deliver(self, found: list[Any]) -> None:
        with self._news:
            is_asked = len(self._waiting) > 0
            self._waiting.add(found)
        if found and not is_asked and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        with self._news:
            found = self._waiting.take_all()
        self._hand_on(found)


class AsyncSubscriber:
    """A subscriber of SSDAQ 0.9 for coroutines.

    Parameters
    ----------
    logger:
        Gets a warning when too many wait for the first time.
    loop:
        Where it works; the running one if None.
    passoff_callback:
        Gets each message, in the loop, instead of `get_data`.
    most_waiting:
        So many messages may wait for the loop, and as many for `get_data`; for newer ones the oldest are
        dropped.
    """

    def __init__(
        self,
        ip: str,
        port: int,
        unpack: Unpack | None = None,
        logger: object = None,
        zmqcontext: object = None,
        loop: asyncio.AbstractEventLoop | None = None,
        passoff_callback: Callable[[Any], Any] | None = None,
        name: str = "AsyncSubscriber",
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        del zmqcontext
        self.name = name
        self._waiting = Waiting(most_waiting, name, logger)
        self._news = asyncio.Event()
        self._is_closed = False
        self._callback = passoff_callback
        loop = loop or asyncio.get_running_loop()
        self._thread = _Passing(ip, port, unpack, logger, most_waiting, loop, self._take_in, self._end)
        self._thread.start()

    def _end(self) -> None:
        self._is_closed = True
        self._news.set()

    def _take_in(self, found: list[Any]) -> None:
        if self._callback is not None:
            for one in found:  # each by itself: one that it cannot take is not the end of the others
                asyncio.get_running_loop().call_soon(self._callback, one)
            return
        self._waiting.add(found)
        self._news.set()

    @property
    def n_dropped(self) -> int:
        """How many were dropped because too many waited."""
        return self._waiting.n_dropped + self._thread.n_dropped

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    async def get_data(self) -> Any:
        """Return the next message, None once it is closed, or nothing more can come."""
        while not self._waiting and not self._is_closed:
            self._news.clear()
            await self._news.wait()
        return self._waiting.take() if self._waiting else None

    async def close(self, hard: bool = True) -> None:
        """Stop listening; `hard` drops what was not fetched. May be called twice."""
        await asyncio.to_thread(self._thread.close, hard)
        if hard:
            self._waiting.take_all()
        self._end()


class _UnpackingAsyncSubscriber(AsyncSubscriber):
    """A subscriber for coroutines that knows what its messages are."""

    unpacks: ClassVar[Unpack]

    def __init__(self, ip: str, port: int, *rest: Any, **more: Any) -> None:
        super().__init__(ip, port, self.unpacks, *rest, **more)


class AsyncSSReadoutSubscriber(_UnpackingAsyncSubscriber):
    """As `BasicSSReadoutSubscriber`."""

    unpacks = BasicSSReadoutSubscriber.unpacks


class AsyncTriggerSubscriber(_UnpackingAsyncSubscriber):
    """As `BasicTriggerSubscriber`."""

    unpacks = BasicTriggerSubscriber.unpacks


class AsyncLogSubscriber(_UnpackingAsyncSubscriber):
    """As `BasicLogSubscriber`."""

    unpacks = staticmethod(log_record)


class AsyncLogProtoSubscriber(_UnpackingAsyncSubscriber):
    """As `LogProtoSubscriber`."""

    unpacks = LogProtoSubscriber.unpacks


class AsyncTimestampSubscriber(_UnpackingAsyncSubscriber):
    """As `BasicTimestampSubscriber`."""

    unpacks = BasicTimestampSubscriber.unpacks


class AsyncMonSubscriber(_UnpackingAsyncSubscriber):
    """As `BasicMonSubscriber`."""

    unpacks = BasicMonSubscriber.unpacks


class AsyncTelDataSubscriber(_UnpackingAsyncSubscriber):
    """As `BasicTelDataSubscriber`."""

    unpacks = BasicTelDataSubscriber.unpacks
