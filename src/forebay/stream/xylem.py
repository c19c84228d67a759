"""Sockets of xylem: the core's router, a component's line to it, and the flow of data between components."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from forebay.errors import StreamError, WireError
from forebay.stream.endpoint import check, in_use, not_connected
from forebay.stream.socket import Socket
from forebay.wire import xylem as x

HWM: Final = 1000
"""Messages that wait on either side, as in the original; a sender then waits instead of dropping."""

MAX_BYTES: Final = 2**20
"""Of a message to a core, which disconnects who sends a longer one."""

_BEATS = 5
_TURN_S = 0.02
_RETRY_S = 0.2
_FIRST_S = 10.0  # a core that is not there yet takes the registration when it comes
_PATIENCE_S = 5.0
_AGAIN_S = 1.0
_PACE_S = 0.0005


class RouterSocket:
    """The socket of a core, at one address or several: messages with the identity of their sender.

    Parameters
    ----------
    again:
        Called when an address is in use; True to try again, by default never.

    Raises
    ------
    StreamError
        If the address is malformed, in use, or open to others and not `public`.
    """

    def __init__(
        self, addresses: Sequence[str], *, public: bool = False, again: Callable[[], bool] = lambda: False
    ) -> None:
        for address in addresses:
            check(address, binds=True, public=public)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        for address in addresses:
            while not self._is_bound(address):
                if not again():
                    self.close()
                    raise in_use(address)

    def _is_bound(self, address: str) -> bool:
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                return False
            self.close()
            raise in_use(address) from error
        return True

    def receive(self, timeout: float) -> tuple[bytes, list[bytes]] | None:
        """Return identity and frames of the next message, or None."""
        if not self._socket.poll(int(timeout * 1000)):
            return None
        identity, *frames = self._socket.recv_multipart()
        return identity, frames

    def send(self, identity: bytes, frames: Sequence[bytes]) -> None:
        """Send a message; one to somebody who has gone is thrown away."""
        self._socket.send_multipart([identity, *frames])

    def close(self) -> None:
        """Let go of the port; may be called twice."""
        if not self._context.closed:
            self._context.destroy(linger=200)


def _for_conductor(message: x.Message) -> list[bytes]:
    frames = x.encode(message)
    longest = max(map(len, frames))
    if longest > MAX_BYTES:
        raise StreamError(
            f"What is to be sent to the core has {longest} bytes, and it takes {MAX_BYTES}.",
            "Send less, or write it to a file.",
        )
    return frames


class ComponentLink:
    """A component's line to the core: registers, keeps up the heartbeat, and registers again for ever.

    It has a thread of its own, so that a component that is busy is not given up.

    Attributes
    ----------
    inbox:
        (registration, message): each registration, also a new one, begins with `Registered`. An answer is
        for the core that asked, and goes out only while its registration lasts.
    """

    def __init__(self, address: str, register: x.Register) -> None:
        check(address, binds=False, public=True)
        self.address = address
        self.register = register
        self.inbox: queue.SimpleQueue[tuple[int, x.Message]] = queue.SimpleQueue()
        self.refusal = ""
        self._outbox: queue.SimpleQueue[tuple[int, list[bytes]]] = queue.SimpleQueue()
        self._registration = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="core link", daemon=True)

    def start(self) -> None:
        """Begin to register."""
        self._thread.start()

    def send(self, message: x.Message, registration: int) -> None:
        """Send a message to the core of this registration; `StreamError` if it is too long for a core."""
        self._outbox.put((registration, _for_conductor(message)))

    def _run(self) -> None:
        while not self._stop.is_set():
            socket = Socket(zmq.DEALER, self.address, bind=False, hwm=0, public=True)
            try:
                self._registration += 1
                self._talk(socket, self._registration)
            finally:
                self._flush(socket)
                socket.close(linger=0.2)
            self._stop.wait(_RETRY_S)

    def _flush(self, socket: Socket) -> None:
        while True:
            try:
                registration, frames = self._outbox.get_nowait()
            except queue.Empty:
                return
            if registration == self._registration:
                socket.send(frames)

    def _talk(self, socket: Socket, registration: int) -> None:
        beat = self.register.heartbeat_ms / 1000
        socket.send(x.encode(self.register))
        expiry, next_ping = time.monotonic() + _FIRST_S, time.monotonic() + beat
        while not self._stop.is_set() and time.monotonic() < expiry:
            self._flush(socket)
            if time.monotonic() >= next_ping:
                socket.send(x.encode(x.Ping(self.register.instance)))
                next_ping = time.monotonic() + beat
            frames = socket.receive(_TURN_S)
            if frames is None:
                continue
            try:
                message = x.decode(frames)
            except WireError:
                continue  # a core of another kind; it is given up when it sends no heartbeat
            if isinstance(message, x.Refused):
                self.refusal = message.reason
                return
            expiry = time.monotonic() + _BEATS * beat
            if not isinstance(message, x.Pong):
                self.refusal = ""
                self.inbox.put((registration, message))

    def close(self) -> None:
        """Send what waits, and leave; may be called twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)


class DataOut:
    """Where a component publishes; waits for slow listeners, and says what it could not send.

    Attributes
    ----------
    n_lossy:
        Messages at which the queue of a listener was found full for so long that they went out without it.
        More may be lost to it until it reads again; it finds out by the sequence.
    """

    def __init__(self, address: str, *, public: bool = False) -> None:
        self._socket = Socket(zmq.XPUB, address, bind=True, hwm=HWM, public=public)
        self._socket.set(zmq.XPUB_NODROP, 1)
        self.address = self._socket.endpoint
        self.n_lossy = 0
        self._patient_at = 0.0

    def send(self, message: x.Message) -> None:
        """Publish a message; waits for a listener that is slow, but none holds up the others for ever."""
        frames = x.encode(message)
        now = time.monotonic()
        if now >= self._patient_at:
            self._socket.set(zmq.XPUB_NODROP, 1)
            if self._socket.send(frames, _PATIENCE_S if self._patient_at == 0 else 0.0):
                self._patient_at = 0.0
                return
            self._socket.set(zmq.XPUB_NODROP, 0)
            self._patient_at = time.monotonic() + _AGAIN_S
        time.sleep(_PACE_S)  # nothing holds us up now, and whoever reads is to keep up
        self._socket.send(frames)
        self.n_lossy += 1

    def close(self) -> None:
        """Send what waits for at most a second, and let go of the port."""
        self._socket.close(linger=1.0)


class DataIn:
    """What a component listens to, at one address or several; connects, and again for ever.

    Attributes
    ----------
    addresses:
        Those to which it is connected, or would be.
    n_malformed:
        Messages that are none.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses: tuple[str, ...] = ()
        self.n_malformed = 0
        self._connected: set[str] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set_hwm(HWM)
        for option, value in ((zmq.LINGER, 0), (zmq.RECONNECT_IVL_MAX, 500), (zmq.MAXMSGSIZE, 2**26)):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        try:
            self.listen_to(addresses)
        except StreamError:
            self.close()
            raise

    def listen_to(self, addresses: Sequence[str]) -> None:
        """Connect to these addresses, and to no others; what comes from those that stay is not disturbed.

        Raises
        ------
        StreamError
            If one is none.
        """
        for address in addresses:
            check(address, binds=False, public=True)
        for gone in set(self.addresses) - set(addresses):
            self._socket.disconnect(gone)
            self._connected.discard(gone)
        for new in dict.fromkeys(addresses):
            if new in self.addresses:
                continue
            try:
                self._socket.connect(new)
            except zmq.ZMQError as error:
                raise not_connected(new, error) from error
        self.addresses = tuple(dict.fromkeys(addresses))

    @property
    def silent(self) -> list[str]:
        """Addresses where nobody answers, as far as `read` has seen."""
        return [one for one in self.addresses if one not in self._connected]

    @property
    def is_connected(self) -> bool:
        """Whether data can come, from everywhere."""
        return bool(self.addresses) and not self.silent

    def read(self, timeout: float) -> x.Message | None:
        """Return the next message, or None if none came."""
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            change = (
                self._connected.add
                if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
                else self._connected.discard
            )
            change(event["endpoint"].decode())
        if not self._socket.poll(int(timeout * 1000)):
            return None
        try:
            return x.decode(self._socket.recv_multipart())
        except WireError:
            self.n_malformed += 1
            return None

    def close(self) -> None:
        """Disconnect; may be called twice."""
        if self._context.closed:
            return
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._context.destroy(linger=0)


class LogOut:
    """A line to the log; what nobody listens to is lost, as logs of the original are."""

    def __init__(self, address: str, component: str) -> None:
        self._socket = Socket(zmq.PUB, address, bind=False, hwm=HWM, public=True)
        self._component = component

    def say(self, level: str, text: str) -> None:
        """Send one line."""
        self._socket.send(x.encode(x.Log(time.time(), self._component, level, text)))

    def close(self) -> None:
        """Send what waits for a moment, and disconnect."""
        self._socket.close(linger=0.2)


class LogIn:
    """The socket of the log: lines of everybody."""

    def __init__(self, address: str, *, public: bool = False) -> None:
        self._socket = Socket(zmq.SUB, address, bind=True, hwm=0, public=public)
        self.address = self._socket.endpoint
        self.n_malformed = 0

    def read(self, timeout: float) -> x.Log | None:
        """Return the next line, or None."""
        frames = self._socket.receive(timeout)
        if frames is None:
            return None
        try:
            message = x.decode(frames)
        except WireError:
            message = x.Ping()
        if isinstance(message, x.Log):
            return message
        self.n_malformed += 1
        return None

    def close(self) -> None:
        """Let go of the port."""
        self._socket.close()


class OneAnswer:
    """A connection to a core for one request: an answer that comes after it is closed reaches nobody."""

    def __init__(self, address: str, request: x.Control) -> None:
        frames = _for_conductor(request)
        self._socket = Socket(zmq.DEALER, address, bind=False, hwm=0, public=True)
        self._socket.send(frames)

    def receive(self, timeout: float | None) -> x.Control | None:
        """Return the next answer, or None if none came within `timeout` seconds; None waits for ever."""
        end = None if timeout is None else time.monotonic() + timeout
        while end is None or time.monotonic() <= end:
            left = 1.0 if end is None else max(end - time.monotonic(), 0.001)
            frames = self._socket.receive(left)
            if frames is None:
                continue
            try:
                message = x.decode(frames)
            except WireError as error:
                raise StreamError(f"The core answers something else: {error}") from error
            if isinstance(message, x.Control):
                return message
        return None

    def close(self) -> None:
        """Take no more answers."""
        self._socket.close()
