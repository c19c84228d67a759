"""The hub of the embedded bus: takes requests into its journal, hands them out, passes messages on."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq

from forebay.config import Config
from forebay.errors import BusError
from forebay.run.bus import protocol as say
from forebay.run.bus.journal import Held, Journal
from forebay.run.bus.pattern import matches
from forebay.run.bus.presence import is_alive, sweep
from forebay.run.bus.recent import Recent
from forebay.stream.endpoint import check, claim, ipc

T = TypeVar("T")

LOG = logging.getLogger("forebay.bus")

BATCH = 500
"""Most words that share one transaction, and thus one sync of the disk."""

LOOK_S = 0.1
"""The hub looks so often who still lives."""

GRACE_S = 3.0
"""After a start calls are not refused for so long: those who answer have yet to come back."""

_TOKENS_S = 600.0
_KNOWN_ANSWERS = 1024
_KNOWN_GONE = 64
_QUEUED = 10_000
_CLIENT = re.compile(rb"[0-9a-f]{32}")
_DONTWAIT = int(zmq.DONTWAIT)

Hand = tuple[str, int]
"""A client and one of its ends."""


class Hub:
    """Serves all clients of one runtime directory, in one thread.

    Attributes
    ----------
    counters:
        ``requests`` taken, ``handed`` out, ``told`` and ``not_told`` messages, ``malformed`` words, and
        words of ``foreign`` peers, and of clients ``afterwards``, when they were gone.

    Raises
    ------
    BusError
        If another hub keeps the journal, or it cannot be used.
    StreamError
        If another hub has the socket.
    ConfigError
        If the runtime directory is not this user's alone.
    """

    def __init__(self, config: Config) -> None:
        self._runtime_dir = config.runtime_dir
        self._endpoint = ipc(config.runtime_dir, say.SOCKET)
        path = check(self._endpoint, binds=True, public=False)
        assert path is not None
        self._path = path
        self._claim = claim(path, self._endpoint)
        try:
            self._journal = Journal(config.state_dir)
        except BusError:
            os.close(self._claim)
            raise
        sweep(self._runtime_dir)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, say.MAX_FRAME_BYTES)
        self._socket.set_hwm(_QUEUED)
        self._socket.bind(self._endpoint)
        self._session = secrets.token_hex(8)
        self._clients: dict[str, OrderedDict[int, bytes]] = {
            client: OrderedDict() for client in self._journal.clients()
        }
        self._gone: deque[str] = deque(maxlen=_KNOWN_GONE)
        self._asking: dict[str, deque[Hand]] = {}
        self._listening: dict[Hand, tuple[str, str]] = {}
        self._n_told: dict[Hand, int] = {}
        self._recent = Recent()
        self._answering: dict[str, Hand] = {}
        self._grace_until = time.monotonic() + GRACE_S
        self._failing = False
        self.counters = dict.fromkeys(
            ("requests", "handed", "told", "not_told", "malformed", "foreign", "afterwards"), 0
        )

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        look_at = tokens_at = 0.0
        while not stop.is_set():
            poller.poll(int(LOOK_S * 1000))
            batch = self._receive()
            if batch:
                self._carry_out(batch)
            if (now := time.monotonic()) >= look_at:
                look_at = now + LOOK_S
                self._look_who_lives()
            if now >= tokens_at:
                tokens_at = now + _TOKENS_S
                self._write(self._journal.forget_tokens)
            self._hand_out()

    @property
    def journal_path(self) -> Path:
        """Where requests are kept."""
        return self._journal.path

    def queues(self) -> dict[str, tuple[int, int]]:
        """Return each queue with how many requests wait in it and how many are in hand."""
        return self._journal.queues()

    def close(self) -> None:
        """Let go of socket and journal; clients wait for the next hub. May be called twice."""
        if not self._socket.closed:
            self._socket.close()
            self._context.term()
            self._journal.close()
            self._path.unlink(missing_ok=True)
            os.close(self._claim)

    def _write(self, what: Callable[[], T]) -> T | None:
        """Change the journal; None, and one line in the log, if it cannot be written."""
        try:
            with self._journal.transaction(durable=False):
                done = what()
        except BusError as error:
            self._journal_failed(error)
            return None
        self._failing = False
        return done

    def _journal_failed(self, error: BusError) -> None:
        if not self._failing:
            _log("the journal cannot be written; requests are refused", logging.ERROR, reason=error)
        self._failing = True

    # --- what clients say

    def _receive(self) -> list[tuple[str, say.Said]]:
        batch: list[tuple[str, say.Said]] = []
        for _ in range(BATCH):
            try:
                parts = self._socket.recv_multipart(_DONTWAIT)
            except zmq.Again:
                break
            client = parts[0].decode("ascii", "replace")
            if len(parts) == 2 and client in self._gone:  # its farewell; its lock was quicker
                self.counters["afterwards"] += 1
                continue
            if len(parts) != 2 or not _CLIENT.fullmatch(parts[0]) or not self._knows(client):
                self._count_bad("foreign", f"{len(parts) - 1} parts of a peer that is no client")
                continue
            try:
                said = say.decode_said(parts[1])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._count_bad("malformed", str(error))
                continue
            if (known := self._clients[client].get(said.n)) is not None:
                self._send(client, known)
            else:
                batch.append((client, said))
        return batch

    def _knows(self, client: str) -> bool:
        if client not in self._clients:
            if not is_alive(self._runtime_dir, client):
                return False
            self._clients[client] = OrderedDict()
        return True

    def _count_bad(self, counter: str, what: str) -> None:
        if not self.counters[counter]:
            _log("what came is no word of a client; more will only be counted", counter=counter, found=what)
        self.counters[counter] += 1

    def _carry_out(self, batch: list[tuple[str, say.Said]]) -> None:
        """Write what must not be forgotten first, for the whole batch at once; then answer."""
        kept = [(client, said) for client, said in batch if isinstance(said.word, _KEPT)]
        answers: list[tuple[str, say.Done | None]] = []
        if kept:
            try:
                with self._journal.transaction(durable=True):
                    answers = [(client, self._keep(client, said.n, said.word)) for client, said in kept]
            except BusError as error:
                self._journal_failed(error)
                answers = [
                    (client, self._done(said.n, refused="error", reason=error.what, todo=error.todo))
                    for client, said in kept
                ]
        for client, said in batch:
            if isinstance(said.word, say.Leave):
                self._forget_end(client, said.word.end)
            elif not isinstance(said.word, _KEPT):
                answers.append((client, self._pass_on(client, said.n, said.word)))
        for client, answer in answers:
            if answer is not None:
                self._answer(client, answer)

    def _done(self, n: int, **said: object) -> say.Done:
        return say.Done(n, self._session, **said)  # type: ignore[arg-type]

    def _answer(self, client: str, answer: say.Done) -> None:
        frame = say.encode(answer)
        if (known := self._clients.get(client)) is not None:
            known[answer.n] = frame
            if len(known) > _KNOWN_ANSWERS:
                known.popitem(last=False)
        self._send(client, frame)

    def _send(self, client: str, frame: bytes) -> bool:
        try:
            self._socket.send_multipart([client.encode(), frame], _DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        return True

    # --- what must not be forgotten

    def _keep(self, client: str, n: int, word: say.Word) -> say.Done:
        yes = True
        match word:
            case say.Request():
                if not self._journal.add(word.token, word.key, word.id, word.message):
                    return self._done(n, refused="no worker")
                self.counters["requests"] += 1
            case say.Declare():
                self._journal.declare(word.queue, word.patterns)
            case say.Withdraw():
                yes = self._journal.withdraw(word.token, word.queue, word.id)
            case say.Ack():
                yes = self._journal.finish(client, word.end, word.seq)
            case say.Reject():
                if word.requeue:
                    self._journal.give_back(client, word.end)
                else:
                    yes = self._journal.finish(client, word.end, word.seq)
            case say.Leave():
                self._journal.give_back(client, word.end or None)
        return self._done(n, yes=yes)

    def _hand_out(self) -> None:
        """Give waiting requests to those who asked, oldest to whoever asked first."""
        for queue, asking in self._asking.items():
            while asking:
                client, end = asking[0]
                held = self._write(partial(self._journal.hand, queue, client, end))
                if held is None:
                    break
                asking.popleft()
                if self._send_held(client, end, held):
                    self.counters["handed"] += 1
                else:
                    self._write(partial(self._journal.hand_missed, held.seq))

    def _send_held(self, client: str, end: int, held: Held) -> bool:
        return self._send(client, say.encode(say.Handed(end, held.seq, held.redelivered, held.message)))

    # --- what is only passed on

    def _pass_on(self, client: str, n: int, word: say.Word) -> say.Done | None:
        match word:
            case say.Take():
                return self._take(client, n, word)
            case say.Tell():
                self._tell(word)
            case say.Listen():
                self._listen(client, word)
            case say.Answer():
                owner = self._answering.setdefault(word.key, (client, word.end))
                if owner != (client, word.end):
                    return self._done(
                        n,
                        refused="error",
                        reason=f"Calls for {word.key!r} are answered by another process already.",
                        todo="Stop that one, or use another key.",
                    )
            case say.Call():
                return self._call(client, n, word)
            case say.Reply():
                self._send(word.caller.decode(), say.encode(say.Answered(word.n, word.message)))
        return self._done(n)

    def _take(self, client: str, n: int, word: say.Take) -> say.Done:
        if not self._journal.has(word.queue):
            return self._done(
                n, refused="error", reason=f"There is no queue {word.queue!r}.", todo="Declare it first."
            )
        if (held := self._journal.held(client, word.end)) is not None:
            self._send_held(client, word.end, held)
        elif (client, word.end) not in (asking := self._asking.setdefault(word.queue, deque())):
            asking.append((client, word.end))
        return self._done(n)

    def _listen(self, client: str, word: say.Listen) -> None:
        hand = (client, word.end)
        is_new = hand not in self._listening
        self._listening[hand] = (word.channel, word.pattern)
        self._n_told.setdefault(hand, 0)
        if word.again and is_new:
            for message in self._recent.of(word.channel, word.pattern):
                self._tell_one(hand, message)

    def _tell(self, word: say.Tell) -> None:
        self._recent.add(word.channel, word.key, word.message)
        for hand, (channel, pattern) in self._listening.items():
            if channel == word.channel and matches(pattern, word.key):
                self._tell_one(hand, word.message)

    def _tell_one(self, hand: Hand, message: bytes) -> None:
        client, end = hand
        i = self._n_told[hand]
        self._n_told[hand] = i + 1
        passed = self._send(client, say.encode(say.Told(end, i, message)))
        self.counters["told" if passed else "not_told"] += 1

    def _call(self, client: str, n: int, word: say.Call) -> say.Done | None:
        """Pass a call on; None keeps the caller asking, while those who answer may yet come back."""
        owner = self._answering.get(word.key)
        if owner is not None:
            called = say.Called(owner[1], client.encode(), n, word.message)
            if self._send(owner[0], say.encode(called)):
                return self._done(n)
        return None if time.monotonic() < self._grace_until else self._done(n, refused="no worker")

    # --- who lives

    def _look_who_lives(self) -> None:
        for client in [one for one in self._clients if not is_alive(self._runtime_dir, one)]:
            queues = self._write(partial(self._journal.give_back, client))
            if queues is None:
                return
            if queues:
                _log("a worker ended with a request in hand; it waits again", client=client, queues=queues)
            self._forget_end(client, 0)
            del self._clients[client]
            self._gone.append(client)

    def _forget_end(self, client: str, end: int) -> None:
        def is_it(hand: Hand) -> bool:
            return hand[0] == client and end in (0, hand[1])

        for queue, asking in self._asking.items():
            self._asking[queue] = deque(hand for hand in asking if not is_it(hand))
        for hand in [hand for hand in self._listening if is_it(hand)]:
            del self._listening[hand], self._n_told[hand]
        for key in [key for key, hand in self._answering.items() if is_it(hand)]:
            del self._answering[key]


_KEPT = (say.Request, say.Declare, say.Withdraw, say.Ack, say.Reject, say.Leave)


def _log(event: str, level: int = logging.WARNING, **fields: object) -> None:
    LOG.log(level, event, extra={"fields": fields})


@contextmanager
def running_hub(config: Config) -> Iterator[Hub]:
    """Run a hub in a thread of this process: for tests, demonstrations and programs of one process."""
    hub = Hub(config)
    stop = threading.Event()
    thread = threading.Thread(target=hub.run, args=(stop,), name="hub")
    thread.start()
    try:
        yield hub
    finally:
        stop.set()
        thread.join()
        hub.close()
