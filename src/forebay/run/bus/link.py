"""A client's line to the hub: one thread that speaks, hears, asks again and notices when the hub is away."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from forebay.errors import BusError, NoWorkerError
from forebay.run.bus import protocol as say
from forebay.run.bus.presence import Presence
from forebay.stream.endpoint import check, ipc

LOG = logging.getLogger("forebay.bus")

RESEND_S = 0.5
"""What the hub did not answer is said again so often."""

PING_S = 0.5
"""The hub is asked so often whether it is still the same."""

AWAY_S = 3.0
"""A hub that was silent for so long is said to be away."""

_QUEUED = 10_000
_DONTWAIT = int(zmq.DONTWAIT)
_START_HUB = "Start it: `forebay run CONFIG` does, and so does `forebay serve hub bus --config CONFIG`."


class _Pending:
    """A word that the hub has not answered yet."""

    __slots__ = ("done", "frame", "heard", "said_at")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.said_at = 0.0
        self.heard = threading.Event()
        self.done: say.Done | None = None


class Link:
    """One client of the hub; its methods may be called from several threads.

    Parameters
    ----------
    runtime_dir:
        Where the hub's socket lies.

    Attributes
    ----------
    client:
        32 hexadecimal digits that name this client.
    n_restarts:
        How often another hub was found in place of the one before.
    """

    def __init__(self, runtime_dir: Path) -> None:
        self.client = uuid.uuid4().hex
        self._endpoint = ipc(runtime_dir, say.SOCKET)
        check(self._endpoint, binds=False, public=False)
        self._presence = Presence(runtime_dir, self.client)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._n = 0
        self._pending: dict[int, _Pending] = {}
        self._outbox: deque[_Pending] = deque()
        self._hears: dict[int, Callable[[say.Handed | say.Told | say.Called], None]] = {}
        self._answers: dict[int, Callable[[bytes], None]] = {}
        self._standing: dict[int, say.Word] = {}
        self._session = ""
        self.n_restarts = 0
        self._heard_at = time.monotonic()
        self._away = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)
        self._thread.start()

    # --- for callers

    def number(self) -> int:
        """Draw a number that no other word or end of this client has."""
        with self._lock:
            self._n += 1
            return self._n

    def attach(self, end: int, hears: Callable[[say.Handed | say.Told | say.Called], None]) -> None:
        """Have what comes for `end` given to `hears`, in the thread of this link."""
        self._hears[end] = hears

    def detach(self, end: int) -> None:
        """Forget an end."""
        self._hears.pop(end, None)
        self._standing.pop(end, None)

    def stand(self, end: int, word: say.Word) -> None:
        """Say `word` again to each new hub."""
        self._standing[end] = word

    def ask(self, word: say.Word, timeout: float) -> say.Done:
        """Say a word and return the hub's answer.

        Raises
        ------
        NoWorkerError
            If the hub says that nobody takes it.
        BusError
            If no answer came within `timeout` seconds, or the hub refused.
        """
        n = self.number()
        done = self._say(n, word, timeout)
        if done.refused == "no worker":
            key = getattr(word, "key", "")
            raise NoWorkerError(
                f"Nobody takes {key!r}.",
                "Start a service that does (`forebay status` shows what runs), or check the name.",
            )
        if done.refused:
            raise BusError(done.reason, done.todo)
        return done

    def call(self, key: str, message: bytes, timeout: float, answered: Callable[[bytes], None]) -> int:
        """Have a call passed on and return its number, for `forget`; raises as `ask`.

        `answered` gets the answer, in the thread of this link.
        """
        n = self.number()
        self._answers[n] = answered
        try:
            done = self._say(n, say.Call(key, message), timeout)
        except BusError:
            self.forget(n)
            raise
        if done.refused:
            self.forget(n)
            raise NoWorkerError(
                f"Nobody answers for {key!r}.", "Start the service that does, or check the name."
            )
        return n

    def forget(self, n: int) -> None:
        """Wait no longer for the answer of call `n`."""
        self._answers.pop(n, None)

    def close(self) -> None:
        """End; may be called twice."""
        with self._lock:
            first = not self._closed.is_set()
            self._closed.set()
        if first:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            os.close(self._wake)
            self._presence.close()

    def _say(self, n: int, word: say.Word, timeout: float) -> say.Done:
        pending = _Pending(say.encode(say.Said(n, word)))
        with self._lock:
            if self._closed.is_set():
                raise BusError("This end of the bus was closed.")
            self._pending[n] = pending
            self._outbox.append(pending)
            os.eventfd_write(self._wake, 1)
        pending.heard.wait(timeout)
        self._pending.pop(n, None)
        if pending.done is not None:
            return pending.done
        if self._closed.is_set():
            raise BusError("This end of the bus was closed.")
        raise BusError(f"The hub of the bus at {self._endpoint} did not answer in {timeout:g} s.", _START_HUB)

    # --- the thread of the link

    def _run(self) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, self.client.encode())
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        socket.setsockopt(zmq.MAXMSGSIZE, say.MAX_FRAME_BYTES)
        socket.set_hwm(_QUEUED)
        socket.connect(self._endpoint)
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        ping_at = 0.0
        try:
            while not self._closed.is_set():
                if dict(poller.poll(int(PING_S * 500))).get(self._wake):
                    os.eventfd_read(self._wake)
                self._hear_all(socket)
                now = time.monotonic()
                while self._outbox:
                    self._send(socket, self._outbox.popleft(), now)
                for pending in list(self._pending.values()):
                    if pending.said_at and now - pending.said_at > RESEND_S:
                        self._send(socket, pending, now)
                if now >= ping_at:
                    ping_at = now + PING_S
                    self._send(socket, _Pending(say.encode(say.Said(self.number(), say.Ping()))), now)
                    self._notice(now)
            socket.send(say.encode(say.Said(self.number(), say.Leave(0))), _DONTWAIT)
        except zmq.Again:
            LOG.warning("the hub was not told that we leave; it will notice")
        finally:
            socket.close()
            context.term()
            for pending in list(self._pending.values()):
                pending.heard.set()

    def _send(self, socket: zmq.Socket[bytes], pending: _Pending, now: float) -> None:
        try:
            socket.send(pending.frame, _DONTWAIT)
        except zmq.Again:
            LOG.debug("the line to the hub is full")
        pending.said_at = now

    def _notice(self, now: float) -> None:
        if not self._away and now - self._heard_at > AWAY_S:
            self._away = True
            LOG.warning("the hub of the bus is away", extra={"fields": {"endpoint": self._endpoint}})

    def _hear_all(self, socket: zmq.Socket[bytes]) -> None:
        while True:
            try:
                frame = socket.recv(_DONTWAIT)
            except zmq.Again:
                return
            self._hear(say.decode_heard(frame))

    def _hear(self, heard: say.Heard) -> None:
        self._heard_at = time.monotonic()
        if self._away:
            self._away = False
            LOG.info("the hub of the bus is back", extra={"fields": {"endpoint": self._endpoint}})
        match heard:
            case say.Done():
                if heard.session != self._session:
                    self._greet(heard.session)
                if (pending := self._pending.get(heard.n)) is not None:
                    pending.done = heard
                    pending.heard.set()
            case say.Answered():
                if (answered := self._answers.pop(heard.n, None)) is not None:
                    answered(heard.message)
            case _:
                if (hears := self._hears.get(heard.end)) is not None:
                    hears(heard)

    def _greet(self, session: str) -> None:
        """Tell a new hub what we listen to; what it has not answered is said again at once."""
        if self._session:
            self.n_restarts += 1
            LOG.warning("the hub of the bus was started anew; statuses meanwhile may be missing")
            for standing in list(self._standing.values()):
                word = (
                    msgspec.structs.replace(standing, again=True)
                    if isinstance(standing, say.Listen)
                    else standing
                )
                self._outbox.append(_Pending(say.encode(say.Said(self.number(), word))))
            self._outbox.extend(self._pending.values())
            os.eventfd_write(self._wake, 1)
        self._session = session
