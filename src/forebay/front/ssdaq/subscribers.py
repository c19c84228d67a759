"""Listeners in a thread of their own, as SSDAQ's Python library has them: of 0.7, and subscribers of 0.9."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from forebay.errors import ForebayError, WireError
from forebay.front.ssdaq.readout import SSReadout, SSReadoutB
from forebay.front.ssdaq.records import LogData, MonitorData, TelData, TriggerMessage, log_record
from forebay.front.ssdaq.triggers import TriggerPacket
from forebay.front.ssdaq.waiting import MOST_WAITING, Waiting
from forebay.stream.messages import MessageListener
from forebay.stream.readouts import ReadoutListener

_POLL_S = 0.05


class Unpack(Protocol):
    """What makes something of a message."""

    def __call__(self, message: bytes, /) -> Any:
        """Return what the message is; `WireError` if it is none."""
        ...


class _Inlet(Protocol):
    def read(self, timeout: float) -> Iterable[Any]: ...

    def close(self) -> None: ...


class _Listening(threading.Thread):
    """Takes what comes, until it is closed; the newest of it waits to be fetched."""

    def __init__(
        self, inlet: _Inlet, unpack: Callable[[Any], Any], name: str, logger: object, most_waiting: int
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._inlet = inlet
        self._unpack = unpack
        self._waiting = Waiting(most_waiting, name, logger)
        self._news = threading.Condition()
        self._is_closed = False
        self.n_malformed = 0

    @property
    def n_dropped(self) -> int:
        """How many were dropped because too many waited."""
        return self._waiting.n_dropped

    def run(self) -> None:
        """Take what comes; started by `start`."""
        try:
            while not self._is_closed:
                found = [self._unpacked(one) for one in self._inlet.read(_POLL_S)]
                self._deliver([one for one in found if one is not None])
        finally:
            self._inlet.close()
            with self._news:
                self._is_closed = True
                self._news.notify_all()

    def _deliver(self, found: list[Any]) -> None:
        with self._news:
            if not self._is_closed:
                self._waiting.add(found)
                self._news.notify_all()

    def _unpacked(self, one: Any) -> Any:
        try:
            return self._unpack(one)
        except WireError:
            self.n_malformed += 1
            return None

    def _take(self, block: bool, timeout: float | None) -> Any:
        with self._news:
            if block:
                self._news.wait_for(lambda: self._waiting or self._is_closed, timeout)
            if self._waiting:
                return self._waiting.take()
            if self._is_closed:
                return None
            raise queue.Empty

    def _close(self, hard: bool) -> None:
        with self._news:
            self._is_closed = True
            if hard:
                self._waiting.take_all()
            self._news.notify_all()
        if self.ident is None:
            self._inlet.close()
        elif self is not threading.current_thread():
            self.join()


class SSReadoutListener(_Listening):
    """Listens to published readouts, of either generation.

    Parameters
    ----------
    ip, port:
        Of the publisher; ``0.0.0.0`` binds, for publishers of mode ``remote``.
    logger:
        Gets a warning when too many wait for the first time.
    most_waiting:
        So many readouts may wait to be fetched; for newer ones the oldest are dropped.
    """

    def __init__(
        self, ip: str, port: int, logger: object = None, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._readouts = ReadoutListener(ip, port)
        try:
            super().__init__(self._readouts, SSReadout.of, "SSReadoutListener", logger, most_waiting)
        except ForebayError:
            self._readouts.close()
            raise

    @property
    def counters(self) -> dict[str, int]:
        """Readouts ``received``, ``lost`` on the way and ``dropped`` here, messages ``malformed``."""
        return {**self._readouts.counters, "dropped": self.n_dropped}

    def get_readout(self, block: bool = True, timeout: float | None = None) -> SSReadout | None:
        """Return the next readout, None once the listener is closed; `queue.Empty` as `queue.Queue.get`."""
        found: SSReadout | None = self._take(block, timeout)
        return found

    def close(self) -> None:
        """Stop listening and drop what was not fetched; whoever waits gets None. May be called twice."""
        self._close(hard=True)


class BasicSubscriber(_Listening):
    """A subscriber of SSDAQ 0.9.

    Parameters
    ----------
    unpack:
        What is made of each message; None leaves its bytes.
    logger:
        Gets a warning when too many wait for the first time.
    zmqcontext:
        Taken and not used.
    most_waiting:
        So many messages may wait to be fetched; for newer ones the oldest are dropped.
    """

    def __init__(
        self,
        ip: str,
        port: int,
        unpack: Unpack | None = None,
        logger: object = None,
        zmqcontext: object = None,
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        del zmqcontext
        inlet = MessageListener(ip, port)
        try:
            super().__init__(inlet, unpack or bytes, type(self).__name__, logger, most_waiting)
        except ForebayError:
            inlet.close()
            raise

    def get_data(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next message, None once it is closed; `queue.Empty` as `queue.Queue.get`."""
        return self._take(block, timeout)

    def empty(self) -> bool:
        """Whether nothing waits."""
        with self._news:
            return not self._waiting

    def close(self, hard: bool = True) -> None:
        """Stop listening; `hard` drops what was not fetched, else it can still be fetched."""
        self._close(hard)


class _UnpackingSubscriber(BasicSubscriber):
    """A subscriber that knows what its messages are."""

    unpacks: ClassVar[Unpack]

    def __init__(
        self,
        ip: str,
        port: int,
        logger: object = None,
        zmqcontext: object = None,
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        super().__init__(ip, port, self.unpacks, logger, zmqcontext, most_waiting=most_waiting)


class BasicSSReadoutSubscriber(_UnpackingSubscriber):
    """Readouts, as `forebay.front.ssdaq.readout.SSReadoutB`."""

    unpacks = SSReadoutB.from_bytes


class BasicTriggerSubscriber(_UnpackingSubscriber):
    """Trigger patterns, as `forebay.front.ssdaq.triggers.TriggerPacket`."""

    unpacks = TriggerPacket.unpack


class BasicLogSubscriber(_UnpackingSubscriber):
    """Log records, as those of Python's `logging`."""

    unpacks = staticmethod(log_record)


class LogProtoSubscriber(_UnpackingSubscriber):
    """Log records, as `forebay.front.ssdaq.records.LogData`."""

    unpacks = LogData.unpack


class BasicTimestampSubscriber(_UnpackingSubscriber):
    """Time stamps of triggers, as `forebay.front.ssdaq.records.TriggerMessage`."""

    unpacks = TriggerMessage.unpack


class BasicMonSubscriber(_UnpackingSubscriber):
    """Monitoring of the receivers, as `forebay.front.ssdaq.records.MonitorData`."""

    unpacks = MonitorData.unpack


class BasicTelDataSubscriber(_UnpackingSubscriber):
    """Where the telescope points to, as `forebay.front.ssdaq.records.TelData`."""

    unpacks = TelData.unpack
