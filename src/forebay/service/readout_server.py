"""`SSReadoutAssembler` of SSDAQ's Python library; imported from `forebay.front.ssdaq`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.assemble.timed import TimedRules
from forebay.errors import ConfigError, ForebayError
from forebay.front.ssdaq.readout import SSReadout
from forebay.service.block_log import MOST, BlockLog
from forebay.service.process import stop_on_signal
from forebay.service.queued import QueuedSink
from forebay.service.readout import CameraInput, ReadoutAssembler, ReadoutSink
from forebay.service.readout_control import ControlThread, default_control
from forebay.wire.senders import ModuleRule


class SSReadoutAssembler:
    """Joins what the modules send to readouts and hands them to publishers.

    Parameters
    ----------
    readout_tw, buffer_time:
        Window of the time tags, longest wait; ns.
    publishers:
        `ZMQReadoutPublisher`, or anything with a method ``publish(readout)``; closed at the end.
    packet_debug_stream_file:
        Gets a line for each block: time tag, time of arrival (ns since 1970 UTC), module; appended. Written
        beside the work: what the disk does not take in time is left out and counted. None for no file.
    modules:
        Address -> module, for networks of other habits.
    control:
        Endpoint of the control channel: None for that of ``control-ssdaq roa-ctrl``, "" for none.

    Raises
    ------
    ConfigError
        If an address or a port cannot be had, or the file not be opened.
    """

    def __init__(
        self,
        relaxed_ip_range: bool = False,
        readout_tw: float = 1e5,
        listen_ip: str = "0.0.0.0",  # noqa: S104 - so the original's does
        listen_port: int = 2009,
        buffer_length: int = 1000,
        buffer_time: float = 1e10,
        publishers: Sequence[Any] = (),
        packet_debug_stream_file: str | Path | None = None,
        *,
        modules: Mapping[str, int] | None = None,
        control: str | None = None,
    ) -> None:
        try:
            address = ip_address(listen_ip)
        except ValueError as error:
            raise ConfigError(f"listen_ip {listen_ip!r} is not an IP address.", "Write a.b.c.d.") from error
        rules = TimedRules(int(readout_tw), int(buffer_time), buffer_length)
        rule = ModuleRule(relaxed_ip_range, modules or {})
        sinks = [one if hasattr(one, "append") else _Custom(one) for one in publishers]
        self._control = default_control() if control is None else control
        block_log = None
        if packet_debug_stream_file is not None:
            block_log = QueuedSink(BlockLog(Path(packet_debug_stream_file)), MOST)
        try:
            camera = CameraInput(address, listen_port, rule, rules)
            self._assembler = ReadoutAssembler(camera, sinks, block_log)
        except BaseException:
            if block_log is not None:
                block_log.close()
            raise
        self._stop_asked = threading.Event()
        self.port = self._assembler.port

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`, in the main thread also until SIGINT or SIGTERM; drain what is in flight.

        Parameters
        ----------
        ready:
            Called when commands are answered and signals end the work.

        Raises
        ------
        StreamError
            If another assembler has the control channel.
        Exception
            What made a publisher fail.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(ControlThread(self._assembler, self._control))
            except ForebayError:
                self.stop()
                self._assembler.run(self._stop_asked)  # lets go of the port and the publishers
                raise
            if threading.current_thread() is threading.main_thread():
                with stop_on_signal() as stop:
                    self._stop_asked = _Either(stop, self._stop_asked)
                    ready()
                    self._assembler.run(self._stop_asked)
            else:
                ready()
                self._assembler.run(self._stop_asked)
        if self._assembler.failed:
            raise self._assembler.failed[0]

    def stop(self) -> None:
        """Let `run` end; from any thread."""
        self._stop_asked.set()

    def status(self) -> dict[str, Any]:
        """Return counters and what is going on."""
        return self._assembler.status()

    def cmd_reset_ro_count(self, arg: object = None) -> bytes:
        """Let the next readout be number 1."""
        del arg
        self._assembler.reset_count()
        return b"Readout count reset"

    def cmd_set_publish_readouts(self, arg: object) -> bytes:
        """Publish, or only assemble and count: True or False, also as text."""
        on = arg is True or str(arg).strip("[]'\"") in ("true", "True")
        self._assembler.publish(on)
        return b"Unpaused readout publishing" if on else b"Paused readout publishing"


class _Either(threading.Event):
    """Set when one of two events is."""

    def __init__(self, one: threading.Event, other: threading.Event) -> None:
        super().__init__()
        self._events = one, other

    def is_set(self) -> bool:
        return super().is_set() or any(event.is_set() for event in self._events)


class _Custom(ReadoutSink):
    """A publisher that users wrote: it gets one readout after the other."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher

    def append(self, readouts: NDArray[np.void]) -> None:
        for one in readouts:
            self._publisher.publish(SSReadout.of(one))

    def close(self) -> None:
        if hasattr(self._publisher, "close"):
            self._publisher.close()
