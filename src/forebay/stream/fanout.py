"""One TCP port, any number of ZeroMQ consumers, everything for each: nobody steals from anybody.

A PUSH socket of ZeroMQ deals its messages out among its consumers. So this is none: every connection is
accepted here and spoken to in ZeroMQ's own protocol, as a PUSH socket to a PULL socket and as a PUB socket
to a SUB socket. Consumers cannot tell the difference, and each has its own position in the ring.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from forebay.errors import StreamError, WireError
from forebay.event import Event
from forebay.stream.endpoint import check, in_use
from forebay.wire import zmtp

HANDSHAKE_S: Final = 5.0
"""Who has not said within this time that it is a consumer is sent away."""

_POLL_MS: Final = 100
_MOST_BUFFERS: Final = 512  # of one system call; Linux takes 1024
_ANSWERS: Final = {"PULL": "PUSH", "SUB": "PUB", "XSUB": "PUB"}

Encode = Callable[[Event], Sequence[bytes | memoryview]]


class PositionedSource(Protocol):
    """A source that counts what left its ring before it was read."""

    lost: int

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        ...

    def close(self) -> None:
        """See `forebay.ports.Source.close`."""
        ...


OpenReader = Callable[[Literal["oldest", "newest"]], PositionedSource]


@dataclass(slots=True)
class Consumer:
    """Who is connected, and its account: messages and bytes given to the kernel, messages lost to it.

    `reason` says why it went, where something failed.
    """

    peer: str
    kind: str = ""
    sent: int = 0
    bytes: int = 0
    lost: int = 0
    reason: str = ""


class _GoneError(StreamError):
    """The consumer hung up, or we stop."""


class FanOut:
    """Serves a ring to ZeroMQ consumers: history, then live, without a gap.

    A PULL consumer gets everything that the ring holds, oldest first, and goes on with what comes. A SUB
    consumer, an eye, starts at the newest message and gets those whose first frame begins with its topic.

    Parameters
    ----------
    open_reader:
        Gives each consumer its own reader.
    encode:
        Makes the frames of an event; an event for which it raises `WireError` is counted in `unsendable`.
    endpoint:
        ``tcp://ADDRESS:PORT``; port ``*`` takes a free one.
    public:
        Allow an address other than loopback.
    max_consumers:
        Further connections are closed at once and counted in `refused`.
    on_change:
        Told of every consumer that came or went: the word and the account.

    Attributes
    ----------
    counters:
        ``served`` consumers so far; ``refused`` connections: no ZeroMQ, another type of socket, too many;
        ``unsendable`` events; ``lost``: messages that left the ring before a consumer had read them.

    Raises
    ------
    StreamError
        If the endpoint is malformed, in use or not to be bound.
    """

    def __init__(
        self,
        open_reader: OpenReader,
        encode: Encode,
        endpoint: str,
        *,
        public: bool = False,
        max_consumers: int = 64,
        on_change: Callable[[str, Consumer], None] = lambda _word, _consumer: None,
    ) -> None:
        self.counters = dict.fromkeys(("served", "refused", "unsendable", "lost"), 0)
        self.consumers: list[Consumer] = []
        self._open_reader = open_reader
        self._encode = encode
        self._max_consumers = max_consumers
        self._on_change = on_change
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._server = _listen(endpoint, public)
        host, port = self._server.getsockname()[:2]
        self.endpoint = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
        self._accepting = threading.Thread(target=self._accept, name="fan-out", daemon=True)
        self._accepting.start()

    def close(self, linger: float = 0.0) -> None:
        """Let the consumers read what is left for `linger` seconds at most, if the ring is closed."""
        end = time.monotonic() + linger
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._server.close()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._stop.set()
        for thread in threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, address = self._server.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                if self._server.fileno() < 0 or not _listens(self._server):
                    return
                self._stop.wait(0.1)  # no more descriptors: consumers that leave make room
                continue
            consumer = Consumer(f"{address[0]}:{address[1]}")
            thread = threading.Thread(target=self._serve, args=(sock, consumer), daemon=True)
            with self._lock:
                is_full = len(self._threads) >= self._max_consumers
                self.counters["refused"] += is_full
                if not is_full:
                    self._threads.add(thread)
            if is_full:
                sock.close()
                self._on_change("refused: too many consumers", consumer)
            else:
                thread.start()

    def _serve(self, sock: socket.socket, consumer: Consumer) -> None:
        try:
            with sock:
                self._serve_open(sock, consumer)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _serve_open(self, sock: socket.socket, consumer: Consumer) -> None:
        connection = _Connection(sock, self._stop)
        try:
            consumer.kind = connection.shake_hands()
        except (WireError, StreamError, OSError) as error:
            consumer.reason = str(error)
            with self._lock:
                self.counters["refused"] += 1
            self._on_change("refused: not a ZeroMQ consumer", consumer)
            return
        reader = self._open_reader("oldest" if consumer.kind == "PULL" else "newest")
        with self._lock:
            self.consumers.append(consumer)
            self.counters["served"] += 1
        self._on_change("consumer came", consumer)
        ending = "consumer went"
        try:
            self._feed(connection, reader, consumer)
            ending = "consumer has everything"
        except (WireError, StreamError, OSError) as error:
            consumer.reason = str(error)
        finally:
            reader.close()
            with self._lock:
                self.consumers.remove(consumer)
        self._on_change(ending, consumer)

    def _feed(self, connection: _Connection, reader: PositionedSource, consumer: Consumer) -> None:
        while (events := reader.read(_POLL_MS / 1000)) is not None:
            connection.listen()
            connection.send([])
            if reader.lost != consumer.lost:
                with self._lock:
                    self.counters["lost"] += reader.lost - consumer.lost
                consumer.lost = reader.lost
            for event in events:
                try:
                    parts = self._encode(event)
                except WireError:
                    with self._lock:
                        self.counters["unsendable"] += 1
                    continue
                if connection.wants(parts):
                    consumer.bytes += connection.send(zmtp.message(parts))
                    consumer.sent += 1
        connection.finish()


class _Connection:
    """One consumer's TCP connection; used by one thread. Everything raises `_GoneError` when it ends."""

    def __init__(self, sock: socket.socket, stop: threading.Event) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a host that was switched off leaves too
        self._sock = sock
        self._stop = stop
        self._poll = select.poll()
        self._frames = zmtp.FrameReader()
        self._topics: list[bytes] | None = None
        self._replies: list[bytes | memoryview] = []  # between messages only

    def shake_hands(self) -> str:
        """Return the consumer's type of socket once it wants something; `WireError` if we do not serve it."""
        end = time.monotonic() + HANDSHAKE_S
        self._sock.send(zmtp.GREETING)
        greeting = b""
        while len(greeting) < len(zmtp.GREETING):
            greeting += self._receive(len(zmtp.GREETING) - len(greeting), end)
        zmtp.check_greeting(greeting)
        pending: list[zmtp.ZmtpFrame] = []
        while not pending:
            pending += self._frames.feed(self._receive(zmtp.MAX_BODY_BYTES, end))
        name, data = zmtp.split_command(pending[0].body)
        if not pending[0].is_command or name != b"READY":
            raise WireError("A consumer that does not begin with READY.")
        kind = zmtp.socket_type(data)
        if kind not in _ANSWERS:
            raise WireError(f"A {kind} socket cannot be served; PULL and SUB can.")
        self._sock.send(zmtp.ready(_ANSWERS[kind]))
        self._topics = None if kind == "PULL" else []
        self._take(pending[1:])
        while self._topics == []:  # before the first one arrives there is nothing that it wants
            self._take(self._frames.feed(self._receive(zmtp.MAX_BODY_BYTES, end)))
        return kind

    def wants(self, parts: Sequence[bytes | memoryview]) -> bool:
        """Whether the consumer subscribed to this message."""
        return self._topics is None or any(bytes(parts[0][: len(t)]) == t for t in self._topics)

    def listen(self) -> None:
        """Take what the consumer has to say, if it does."""
        while True:
            try:
                data = self._sock.recv(zmtp.MAX_BODY_BYTES)
            except BlockingIOError:
                return
            if not data:
                raise _GoneError("The consumer hung up.")
            self._take(self._frames.feed(data))

    def send(self, buffers: list[bytes | memoryview]) -> int:
        """Send what is to be answered and all of these, waiting for the consumer; return how many bytes."""
        n_bytes = 0
        left, self._replies = self._replies + buffers, []
        while left:
            try:
                n = self._sock.sendmsg(left[:_MOST_BUFFERS])
            except BlockingIOError:
                self._wait(select.POLLOUT | select.POLLIN)
                self.listen()
                continue
            n_bytes += n
            i = 0
            while i < len(left) and n >= len(left[i]):
                n -= len(left[i])
                i += 1
            left = left[i:]
            if n:
                left[0] = memoryview(left[0])[n:]
        return n_bytes

    def finish(self) -> None:
        """Say that no more comes, and wait until the consumer has heard it."""
        self._sock.shutdown(socket.SHUT_WR)
        with suppress(_GoneError):
            while True:
                self._wait(select.POLLIN)
                self.listen()

    def _receive(self, n_bytes: int, end: float) -> bytes:
        self._wait(select.POLLIN, end)
        data = self._sock.recv(n_bytes)
        if not data:
            raise _GoneError("The consumer hung up.")
        return data

    def _wait(self, events: int, end: float | None = None) -> None:
        self._poll.register(self._sock, events)
        while not self._stop.is_set() and (end is None or time.monotonic() < end):
            if self._poll.poll(_POLL_MS):
                return
        raise _GoneError("The consumer took too long, or we stop.")

    def _take(self, frames: list[zmtp.ZmtpFrame]) -> None:
        for frame in frames:
            if frame.is_command:
                name, data = zmtp.split_command(frame.body)
                if name == b"PING":
                    self._replies.append(zmtp.command(b"PONG", data[2:18]))
            elif self._topics is not None and frame.body:
                topic = frame.body[1:]
                if frame.body[0] == 1 and len(self._topics) < 100:
                    self._topics.append(topic)
                elif frame.body[0] == 0 and topic in self._topics:
                    self._topics.remove(topic)


def _listen(endpoint: str, public: bool) -> socket.socket:
    check(endpoint, binds=True, public=public)
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://"):
        raise StreamError(f"{endpoint} cannot serve consumers.", "Write tcp://ADDRESS:PORT.")
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    address = {"*": "0.0.0.0", "lo": "127.0.0.1"}.get(host, host.strip("[]"))  # noqa: S104 - `check` said yes
    try:
        server = socket.create_server((address, 0 if port == "*" else int(port)), family=family, backlog=64)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise in_use(endpoint) from error
        raise StreamError(
            f"{endpoint} cannot be bound: {error.strerror or error}.",
            "Check the address, the port and the rights.",
        ) from error
    return server


def _listens(server: socket.socket) -> bool:
    try:
        return bool(server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
