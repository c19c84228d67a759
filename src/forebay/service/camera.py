"""The camera service: datagrams of a camera's modules to readouts, and these to whoever reads or listens."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.assemble.timed import TimedRules
from forebay.config import CameraConfig, Config
from forebay.config.camera import ReadoutPublisherConfig
from forebay.errors import ConfigError
from forebay.service.account import telling
from forebay.service.counted import counted
from forebay.service.process import notify, say
from forebay.service.readout import CameraInput, ReadoutAssembler, ReadoutSink
from forebay.store.manifest import Counters
from forebay.stream.endpoint import ipc
from forebay.stream.readouts import ReadoutPublisher
from forebay.stream.zmq import Publisher
from forebay.wire.senders import ModuleRule
from forebay.wire.ssreadout import to_events

HWM = 10_000
"""Readouts that may wait for each reader of this host, on either side: 170 MB, 10 s at 1 kHz."""


def camera_config(config: Config, name: str) -> CameraConfig:
    """Return the configuration of one camera; `ConfigError` if there is none of that name."""
    if name not in config.cameras:
        known = ", ".join(config.cameras) or "none"
        raise ConfigError(f"The camera {name!r} is not configured.", f"Configured are: {known}.")
    return config.cameras[name]


def readout_stream(config: Config, name: str) -> str:
    """Return the endpoint at which a camera's readouts are events for processes of this host."""
    return ipc(config.runtime_dir, f"{name}.readouts")


def account_of(config: Config, name: str) -> str:
    """Return the endpoint at which a camera's service tells its counters, see `forebay.service.account`."""
    return ipc(config.runtime_dir, f"{name}.account")


def account(status: Mapping[str, Any]) -> Counters:
    """Return the counters of a camera's port, of each module that was heard, and of the builder.

    Parameters
    ----------
    status:
        Of `forebay.service.readout.ReadoutAssembler`.
    """
    by_module = enumerate(zip(status["datagrams_of_module"], status["blocks_of_module"], strict=True))
    receiver = {str(status["port"]): dict(status["receiver"])}
    receiver |= {f"module {i}": {"datagrams": n, "used": used} for i, (n, used) in by_module if n}
    return Counters(receiver, dict(status["builder"]))


class EventStream:
    """A sink of readouts that sends them as events to whoever reads at an endpoint; never waits."""

    def __init__(self, endpoint: str, source: str) -> None:
        self._source = source
        self._publisher = Publisher(endpoint, hwm=HWM)

    @property
    def counters(self) -> Mapping[str, int]:
        """As `forebay.stream.broadcast.COUNTERS`."""
        return self._publisher.counters

    def append(self, readouts: NDArray[np.void]) -> None:
        """Send readouts, (readout,) of `forebay.wire.ssreadout.READOUT`."""
        self._publisher.write(to_events(readouts, self._source))

    def close(self) -> None:
        """Send what waits for at most half a second; may be called twice."""
        self._publisher.close()


def camera(config: Config, name: str, stop: threading.Event) -> None:
    """Receive, assemble and publish the readouts of camera `name` until `stop`.

    Raises
    ------
    ConfigError
        If there is no such camera, or its port cannot be bound.
    StreamError
        If an endpoint is taken or not allowed.
    """
    asked = camera_config(config, name)
    stream = EventStream(readout_stream(config, name), name)
    sinks: list[ReadoutSink] = [stream]
    with ExitStack() as stack:
        try:
            for one in asked.publishers:
                sinks.insert(-1, _publisher(one))  # before the stream: people wait there
            assembler = ReadoutAssembler(_input(asked), sinks)
            stack.enter_context(telling(account_of(config, name), lambda: account(assembler.status())))
        except BaseException:
            for sink in sinks:
                sink.close()
            raise
        notify("READY=1")
        say("receiving", address=asked.address, port=assembler.port, publishers=len(asked.publishers))
        stack.enter_context(counted(lambda: _counters(assembler.status(), stream)))
        assembler.run(stop)
    say("received", **_counters(assembler.status(), stream))
    if assembler.failed:
        raise assembler.failed[0]


def _publisher(asked: ReadoutPublisherConfig) -> ReadoutPublisher:
    return ReadoutPublisher(
        str(asked.address),
        asked.port,
        asked.mode,
        name=f"{asked.address}:{asked.port}",
        generation=asked.generation,
        hwm=HWM,
    )


def _input(asked: CameraConfig) -> CameraInput:
    """Return what the assembler is told; the configuration has seconds, clocks have nanoseconds."""
    rules = TimedRules(
        window_ns=round(asked.window_s * 1e9),
        buffer_ns=round(asked.deadline_s * 1e9),
        buffer_length=asked.open_readouts,
        patience=asked.patience,
        expected=None if asked.expected is None else tuple(asked.expected),
    )
    rule = ModuleRule(asked.relaxed, {str(address): module for address, module in asked.modules.items()})
    return CameraInput(asked.address, asked.port, rule, rules, asked.receive_buffer_bytes)


def _counters(status: Mapping[str, Any], stream: EventStream) -> dict[str, int]:
    """Return the counters of receiver, builder, stream and, added up, publishers."""
    told: dict[str, int] = {**status["receiver"], **status["builder"], "withheld": status["withheld"]}
    told |= {f"stream_{key}": value for key, value in stream.counters.items()}
    for key in ("offered", "sent", "unwatched", "congested"):
        told[f"publishers_{key}"] = sum(one[key] for one in status["publishers"])
    return told
