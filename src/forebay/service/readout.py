"""A camera's datagrams to readouts, to publishers and files; and from a publisher to files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forebay.assemble.datagrams import BlockReceiver
from forebay.assemble.timed import TimedBuilder, TimedRules
from forebay.errors import StoreError
from forebay.service.block_log import LINE
from forebay.service.draining import until_stopped
from forebay.service.port_buffer import warn_if_small
from forebay.service.process import say
from forebay.service.queued import QueuedSink
from forebay.stream.readouts import ReadoutListener, ReadoutPublisher
from forebay.wire.senders import ModuleRule
from forebay.wire.target import N_MODULES

_LOOPBACK = IPv4Address("127.0.0.1")
_POLL_S = 0.1
_GATHER_S = 0.001
_LOOK_EVERY_S = 1.0


class ReadoutSink(Protocol):
    """Where readouts go to: publishers, files, series of files."""

    def append(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, (readout,) of `forebay.wire.ssreadout.READOUT`, oldest first."""
        ...

    def close(self) -> None:
        """Finish what was taken and let go of everything; may be called twice."""
        ...


@dataclass(frozen=True)
class CameraInput:
    """Where datagrams come from and how they become readouts.

    Attributes
    ----------
    gather_s:
        As of `forebay.assemble.datagrams.BlockReceiver.fill`: by so much more a readout may be late, which
        saves CPU time; one that is complete sooner after its time tag than those before it by up to 50 ms.
    """

    listen_ip: IPv4Address | IPv6Address = _LOOPBACK
    listen_port: int = 2009
    rule: ModuleRule = field(default_factory=ModuleRule)
    rules: TimedRules = field(default_factory=TimedRules)
    receive_buffer_bytes: int = 64 * 2**20
    gather_s: float = _GATHER_S


class ReadoutAssembler:
    """Receives, assembles and hands on until it is stopped; then what is in flight is drained.

    `run` belongs to one thread; everything else may be called from any.

    Parameters
    ----------
    sinks:
        Get every readout, in order, while publishing is not paused; closed at the end of `run`. One that
        fails is closed and left out, and the others go on. Slow ones belong into a
        `forebay.service.queued.QueuedSink`.
    block_log:
        Gets a line of `forebay.service.block_log.LINE` for each block that came; as the sinks otherwise.

    Raises
    ------
    ConfigError
        If the port cannot be bound.

    Attributes
    ----------
    port:
        The UDP port.
    failed:
        Why sinks were left out.
    """

    def __init__(
        self, camera: CameraInput, sinks: Sequence[ReadoutSink], block_log: QueuedSink | None = None
    ) -> None:
        self._receiver = BlockReceiver(
            camera.listen_ip, camera.listen_port, camera.rule, camera.receive_buffer_bytes
        )
        self.port = self._receiver.port
        warn_if_small(self._receiver.buffered)
        self.failed: list[Exception] = []
        self._camera = camera
        self._builder = TimedBuilder(camera.rules)
        self._sinks = list(sinks)
        self._block_log = block_log
        if block_log is not None:
            self._builder.readouts.trace(True)
        self._lock = threading.Lock()
        self._publishes = True
        self._withheld = 0
        self._newest_ns = 0
        self._looked_s = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`, then take what still waits in the socket and release every open readout."""
        try:
            while not stop.is_set():
                self._step(_POLL_S)
                self._look()
            while self._step(0.0):
                pass
            self._receiver.count_drops()
            with self._lock:
                readouts = self._builder.drain()
            self._hand_on(readouts)
        finally:
            self._receiver.close()
            for sink in self._sinks:
                self._try(sink.close)
            if self._block_log is not None:
                self._try(self._block_log.close)

    def _look(self) -> None:
        """Once a second, ask the kernel what it dropped and the publishers who listens."""
        if time.monotonic() - self._looked_s > _LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            self._receiver.count_drops()
            for publisher in self._publishers():
                publisher.count_subscribers()

    def _publishers(self) -> list[ReadoutPublisher]:
        return [sink for sink in self._sinks if isinstance(sink, ReadoutPublisher)]

    def _step(self, timeout: float) -> bool:
        """Take what comes until there is something to do; return whether anything came, whole or not."""
        has_come, is_due = self._receiver.fill(self._builder.readouts, timeout, self._camera.gather_s)
        if self._block_log is not None:
            self._log_blocks(self._block_log, self._builder.readouts.take_trace().view(LINE))
        if is_due:
            with self._lock:
                readouts = self._builder.tick(time.monotonic_ns())
            self._hand_on(readouts)
        return has_come

    def _log_blocks(self, block_log: QueuedSink, lines: NDArray[np.void]) -> None:
        if len(lines) and not self._try(lambda: block_log.append(lines)):
            self._block_log = None
            self._builder.readouts.trace(False)

    def _hand_on(self, readouts: NDArray[np.void]) -> None:
        if not len(readouts):
            return
        self._newest_ns = int(readouts["time_ns"][-1])
        if not self._publishes:
            self._withheld += len(readouts)
            return
        for sink in list(self._sinks):
            if not self._try(lambda sink=sink: sink.append(readouts)):
                self._sinks.remove(sink)
                self._try(sink.close)

    def _try(self, work: Any) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - one sink must not take the others with it
            self.failed.append(error)
            say("a sink takes nothing more", logging.ERROR, reason=str(error))
            return False
        return True

    def publish(self, on: bool) -> None:
        """Hand readouts on, or assemble and count them only; those withheld are counted."""
        self._publishes = on

    def reset_count(self) -> None:
        """Let the next readout be number 1."""
        with self._lock:
            self._builder.reset_count()

    def status(self) -> dict[str, Any]:
        """Return counters and what is going on, ready for JSON."""
        with self._lock:
            builder = self._builder.counters
            used = self._builder.used_of_module.tolist()
            n_open = self._builder.n_open
        return {
            "port": self.port,
            "publishing": self._publishes,
            "open": n_open,
            "newest_time_ns": self._newest_ns,
            "withheld": self._withheld,
            "receive_buffer": {
                "asked": self._receiver.buffered.asked,
                "given": self._receiver.buffered.given,
            },
            "receiver": self._receiver.counters,
            "builder": builder,
            "blocks_of_module": used,
            "datagrams_of_module": self._receiver.datagrams_of_module.tolist(),
            "shared_modules": np.flatnonzero(self._receiver.changes_of_module > 1).tolist(),
            "missing_modules": [i for i in range(N_MODULES) if not used[i]],
            "publishers": [
                {
                    "name": one.name,
                    "endpoint": one.endpoint,
                    "mode": one.mode,
                    "subscribers": one.subscribers,
                    **one.counters,
                }
                for one in self._publishers()
            ],
            "block_log": {} if self._block_log is None else dict(self._block_log.counters),
            "queues": [dict(sink.counters) for sink in self._sinks if isinstance(sink, QueuedSink)],
            "failed": [str(error) for error in self.failed],
        }


def rates(before: dict[str, Any], now: dict[str, Any], seconds: float) -> str:
    """Say in a line what happened between two values of `ReadoutAssembler.status`: rates, losses, modules."""
    builder, earlier = now["builder"], before["builder"]
    blocks = np.subtract(now["blocks_of_module"], before["blocks_of_module"]) / seconds
    said = [f"{(builder['readouts'] - earlier['readouts']) / seconds:.1f} readouts/s"]
    said.append(f"{np.count_nonzero(blocks)} modules, {now['open']} open")
    lost = {name: builder[name] - earlier[name] for name in ("late", "duplicate", "implausible", "evicted")}
    came, drops = now["receiver"], before["receiver"]
    lost |= {name: came[name] - drops[name] for name in ("malformed", "foreign", "kernel_drop")}
    said += [f"{name} {n}" for name, n in lost.items() if n > 0]  # less, where the clock was followed
    known = np.flatnonzero(now["blocks_of_module"])
    if known.size:
        usual = np.median(blocks[known])
        said += [f"module {i}: {blocks[i]:.1f}/s" for i in known.tolist() if blocks[i] < 0.9 * usual]
    return ", ".join(said)


def write_readouts(listener: ReadoutListener, sink: ReadoutSink, stop: threading.Event) -> int:
    """Write what a publisher sends until `stop`, and what is on its way then; return how many.

    Listener and sink are closed at the end.

    Raises
    ------
    StoreError
        If a readout could not be written, or the file not be closed.
    """
    n = 0
    failure: StoreError | None = None
    try:
        for readouts in until_stopped(listener.read, stop):
            n += len(readouts)
            try:
                sink.append(readouts)
            except StoreError as error:
                failure = error
                break
    finally:
        listener.close()
        sink.close()
    if failure is not None:
        raise failure
    return n
