"""Watching: one listener on the bus, any number of clients, and nobody waits for a slow one."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
from starlette.concurrency import run_in_threadpool

from forebay.api.tokens import Token
from forebay.errors import BusError, CatalogError, ForebayError, ServiceError
from forebay.job import ENDS
from forebay.run.operator import Operator
from forebay.run.values import Update
from forebay.run.watch import GAP, Watch, update_about

LOG = logging.getLogger("forebay")

KEPT = 2000
"""News that are remembered for clients that come back."""

QUEUE = 500
"""News that may wait for one client; one that lets more wait is dropped."""

RETRY_MS = 1000
_READ_S = 0.5
_GAP_TEXT = b'event: gap\ndata: {"reason": "some news were missed"}\n\n'
_MOST_PROPOSALS = 10_000
_ENCODER = msgspec.json.Encoder(enc_hook=str)


@dataclass(frozen=True, slots=True)
class News:
    """One update, as it is sent.

    Attributes
    ----------
    number:
        Counted from 1 since the feed began.
    proposal:
        Whom it concerns; None where it is about no proposal.
    is_end:
        Whether it is the end of a job.
    """

    number: int
    topic: str
    id: str
    proposal: str | None
    is_end: bool
    text: bytes


@dataclass(slots=True, eq=False)
class Watcher:
    """The place of one client: what it wants to hear, what it has heard, what waits for it."""

    job_id: str | None
    token: Token
    last: int
    has_gap: bool = False
    queue: deque[News] = field(default_factory=deque)
    is_slow: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def concerns(self, news: News) -> bool:
        """Whether this client wants to hear it, and may."""
        if news.topic == GAP:
            return True
        if self.job_id is not None and (news.topic, news.id) != ("job", self.job_id):
            return False
        return news.topic in ("service", "worker") or self.token.allows_proposal(news.proposal)


class Feed:
    """News of the operator for many clients, as server-sent events.

    Parameters
    ----------
    most:
        Most clients at once.
    heartbeat_s:
        A client hears something at least so often.

    Attributes
    ----------
    counters:
        ``updates`` heard, ``sent`` to clients, clients dropped because they were ``slow``, and ``gaps``: how
        often the bus could not be heard, or news of it may be missing.
    """

    def __init__(self, operator: Operator, most: int, heartbeat_s: float = 10.0) -> None:
        self._operator = operator
        self._most = most
        self._heartbeat_s = heartbeat_s
        self._epoch = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._recent: deque[News] = deque(maxlen=KEPT)
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watchers: set[Watcher] = set()
        self._proposals: dict[str, str | None] = {}
        self._stop = threading.Event()
        self._is_hearing = False
        self.counters = dict.fromkeys(("updates", "sent", "slow", "gaps"), 0)
        self._thread = threading.Thread(target=self._listen, name="feed", daemon=True)
        self._thread.start()

    @property
    def n_watchers(self) -> int:
        """How many clients watch."""
        return len(self._watchers)

    # --- the listening thread

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._operator.watch() as watch:
                    self._hear(watch)
            except ForebayError as error:
                LOG.warning("the bus cannot be heard", extra={"fields": {"reason": error}})
                self._say_gap()
                self._stop.wait(1.0)

    def _hear(self, watch: Watch) -> None:
        self._is_hearing = True
        try:
            while not self._stop.is_set():
                update = watch.read(_READ_S)
                if update is not None and update.topic == GAP:
                    self._say_gap()
                elif update is not None:
                    self._take(update)
        finally:
            self._is_hearing = False

    def _take(self, update: Update) -> None:
        proposal = self._proposal_of(update)
        is_end = update.topic == "job" and update.body.get("state") in ENDS
        with self._lock:
            self._number += 1
            text = _frame(update, f"{self._epoch}-{self._number}")
            news = News(self._number, update.topic, update.id, proposal, is_end, text)
            self._recent.append(news)
            self.counters["updates"] += 1
            self._pass_on(news)

    def _say_gap(self) -> None:
        """Tell everybody that something was missed; nobody can go on from before."""
        with self._lock:
            self._number += 1
            self._epoch = secrets.token_hex(4)
            self._recent.clear()
            self.counters["gaps"] += 1
            self._pass_on(News(self._number, GAP, "", None, False, _GAP_TEXT))

    def _pass_on(self, news: News) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, news)

    def _proposal_of(self, update: Update) -> str | None:
        if isinstance(said := update.body.get("proposal"), str):
            return said
        if update.topic != "job":
            return None
        if update.id not in self._proposals:
            if len(self._proposals) >= _MOST_PROPOSALS:
                self._proposals.clear()
            try:
                self._proposals[update.id] = self._operator.job(update.id).proposal
            except CatalogError:  # then it concerns only those who may see everything
                return None
        return self._proposals[update.id]

    # --- the event loop

    def _hand_out(self, news: News) -> None:
        for watcher in tuple(self._watchers):
            if news.number > watcher.last:
                self._give(watcher, news)

    def _give(self, watcher: Watcher, news: News) -> None:
        watcher.last = news.number
        if not watcher.concerns(news):
            return
        if len(watcher.queue) < QUEUE:
            watcher.queue.append(news)
        elif not watcher.is_slow:
            watcher.is_slow = True
            self._watchers.discard(watcher)
            self.counters["slow"] += 1
        watcher.wake.set()

    def join(self, token: Token, job_id: str | None = None, after: str | None = None) -> Watcher:
        """Return the place of a client that hears what comes from now on; call it in the event loop.

        Parameters
        ----------
        job_id:
            Only news of this job; they end with its end.
        after:
            Id of the last event that the client has: what came since is sent first. If something of it is
            no longer known, an event ``gap`` comes first.

        Raises
        ------
        ServiceError
            If too many watch already.
        """
        if len(self._watchers) >= self._most:
            raise ServiceError(
                f"{self._most} clients watch already.", "Wait until one leaves, or raise api.max_watchers."
            )
        with self._lock:
            self._loop = asyncio.get_running_loop()
            watcher = Watcher(job_id, token, self._number)
            if after is not None:
                epoch, _, digits = after.partition("-")
                number = int(digits) if digits.isdecimal() and len(digits) < 19 else -1
                oldest = self._recent[0].number if self._recent else self._number + 1
                if epoch == self._epoch and oldest - 1 <= number <= self._number:
                    watcher.last = number
                else:
                    watcher.has_gap = True
        return watcher

    async def events(self, watcher: Watcher, first: Update | None = None) -> AsyncIterator[bytes]:
        """Yield the news for one client as server-sent events; `first` comes before everything else."""
        yield b"retry: %d\n\n" % RETRY_MS
        if watcher.has_gap:
            yield _GAP_TEXT
        if first is not None:
            yield _frame(first, f"{self._epoch}-{watcher.last}")
            if watcher.job_id is not None and first.body.get("state") in ENDS:
                return
        self._register(watcher)
        try:
            while not watcher.is_slow and not self._stop.is_set():
                if not await self._news(watcher, self._heartbeat_s):
                    yield b": nothing new\n\n"
                    if watcher.job_id is not None and (last := await self._missed_end(watcher.job_id)):
                        yield last
                        return
                    continue
                waiting = list(watcher.queue)
                watcher.queue.clear()
                yield b"".join(news.text for news in waiting)
                self.counters["sent"] += len(waiting)
                if watcher.job_id is not None and any(news.is_end for news in waiting):
                    return
        finally:
            self._watchers.discard(watcher)

    async def _missed_end(self, job_id: str) -> bytes | None:
        """Return the end of a job if it came about without our hearing of it."""
        try:
            job = await run_in_threadpool(self._operator.job, job_id)
        except ForebayError:  # the catalogue is away: it is asked again
            return None
        return _frame(update_about(job), f"{self._epoch}-{self._number}") if job.has_ended else None

    async def news(self, watcher: Watcher, timeout: float) -> None:
        """Return when there is news for the watcher, or after `timeout` seconds."""
        self._register(watcher)
        try:
            await self._news(watcher, timeout)
        finally:
            self._watchers.discard(watcher)

    def _register(self, watcher: Watcher) -> None:
        with self._lock:
            for news in self._recent:
                if news.number > watcher.last:
                    self._give(watcher, news)
            self._watchers.add(watcher)

    @staticmethod
    async def _news(watcher: Watcher, timeout: float) -> bool:
        if not watcher.queue:
            watcher.wake.clear()
            try:
                await asyncio.wait_for(watcher.wake.wait(), timeout)
            except TimeoutError:
                return False
        return bool(watcher.queue)

    def check(self) -> None:
        """Raise `BusError` if the bus cannot be heard at present."""
        if not self._is_hearing:
            raise BusError("The bus cannot be heard.", "See the gateway's log, and forebay status.")

    def close(self) -> None:
        """Listen no longer, and end what clients watch; may be called twice."""
        self._stop.set()
        self._thread.join()
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for watcher in self._watchers:
            watcher.wake.set()


def _frame(update: Update, number: str) -> bytes:
    data = _ENCODER.encode(update)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (number.encode(), update.topic.encode(), data)
