"""Receivers of SSDAQ 0.9's Python library, by the names that it gives them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Protocol

from forebay.assemble.triggers import TriggerInlet
from forebay.service.message_receiver import Inlet, MessageReceiver, Outlet, answer
from forebay.service.monitored import monitored
from forebay.service.process import say, stop_on_signal
from forebay.service.readout_control import ControlThread
from forebay.service.telescope import ConstantPointing, FilePointing
from forebay.stream.bunches import BunchInlet
from forebay.stream.logs import LogInlet
from forebay.stream.monitoring import MonitorInlet

MONITOR = "tcp://127.0.0.101:10002"
"""Where the original's receivers tell how they are."""


class Receiver:
    """Hands on what an inlet takes in, tells once a second how it is, and answers ``status``.

    Parameters
    ----------
    publishers:
        `ZMQTCPPublisher`, `RawWriter` or anything with a method ``send(messages)``; closed at the end.
    name:
        By which monitoring knows it.
    monitor:
        Where it tells how it is; "" for nowhere.
    control:
        Endpoint of its control channel; "" for none.
    """

    def __init__(
        self, inlet: Inlet, publishers: Sequence[Outlet], name: str, monitor: str = MONITOR, control: str = ""
    ) -> None:
        self.name = name
        self._receiver = MessageReceiver(inlet, publishers)
        self._inlet, self._publishers = inlet, publishers
        self._monitor, self._control = monitor, control
        self._stop_asked = threading.Event()

    @property
    def endpoint(self) -> str:
        """Where it takes in, with the real port."""
        return str(getattr(self._inlet, "endpoint", ""))

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`, in the main thread also until SIGINT or SIGTERM; drain what is in flight.

        Parameters
        ----------
        ready:
            Called when commands are answered and signals end the work.

        Raises
        ------
        StreamError
            If the control channel is taken.
        forebay.errors.ForebayError
            What made a publisher fail.
        """
        with ExitStack() as stack:
            for publisher in self._publishers:
                stack.callback(publisher.close)
            stack.callback(self._inlet.close)
            stack.enter_context(ControlThread(self._receiver, self._control, answer))
            receiver = self._receiver
            stack.enter_context(monitored(self.name, self._monitor, lambda: (receiver.n_received, ())))
            signals = threading.Event()
            if threading.current_thread() is threading.main_thread():
                signals = stack.enter_context(stop_on_signal())
            ends = ", ".join(f"{one.name}={one.endpoint}" for one in self._publishers)
            say("receiving", source=self.endpoint, publishers=ends)
            ready()
            receiver.run(lambda: signals.is_set() or self._stop_asked.is_set())
            say("received", **receiver.status()["receiver"])
        if receiver.failed:
            raise receiver.failed[0]

    def stop(self) -> None:
        """Let `run` end; from any thread."""
        self._stop_asked.set()

    def status(self) -> dict[str, Any]:
        """Return counters and what is going on."""
        return self._receiver.status()


class _MakesInlet(Protocol):
    def __call__(self, ip: str, port: int, /) -> Inlet: ...


class _AddressReceiver(Receiver):
    """A receiver of what comes to, or is published at, an address."""

    takes: ClassVar[_MakesInlet]

    def __init__(
        self,
        ip: str,
        port: int,
        publishers: Sequence[Outlet],
        name: str = "",
        *,
        monitor: str = MONITOR,
        control: str = "",
    ) -> None:
        super().__init__(self.takes(ip, port), publishers, name or type(self).__name__, monitor, control)


class TriggerPacketReceiver(_AddressReceiver):
    """Trigger patterns by UDP, as `forebay.assemble.triggers.TriggerInlet` takes them."""

    takes = TriggerInlet


class TimestampReceiver(_AddressReceiver):
    """Time stamps of triggers, as `forebay.stream.bunches.BunchInlet` takes them."""

    takes = BunchInlet


class LogReceiver(_AddressReceiver):
    """Log records by TCP, as `forebay.stream.logs.LogInlet` takes them."""

    takes = LogInlet


class MonitorReceiver(_AddressReceiver):
    """What receivers tell of themselves, as `forebay.stream.monitoring.MonitorInlet` gathers it."""

    takes = MonitorInlet


class TelDataReceiver(Receiver):
    """Where the telescope points to: a constant, or the lines of a file.

    Parameters
    ----------
    ip, port:
        Taken and not used, as in the original.
    file:
        Lines of JSON; None for `ra` and `dec` every `period_s`.
    """

    def __init__(
        self,
        ip: str,
        port: int,
        publishers: Sequence[Outlet],
        name: str = "TelDataReceiver",
        *,
        ra: float = 0.322,
        dec: float = -0.24,
        file: Path | None = None,
        period_s: float = 15.0,
        monitor: str = MONITOR,
        control: str = "",
    ) -> None:
        del ip, port
        inlet = ConstantPointing(ra, dec, period_s) if file is None else FilePointing(file, period_s)
        super().__init__(inlet, publishers, name, monitor, control)
