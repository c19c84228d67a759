"""The inlet service: another stream of a camera, as it comes, to whoever listens."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

from forebay.assemble.triggers import TriggerInlet
from forebay.config import Config, InletConfig
from forebay.errors import ConfigError
from forebay.service.counted import counted
from forebay.service.message_receiver import Inlet, MessageReceiver
from forebay.service.monitored import monitored
from forebay.service.process import notify, say
from forebay.service.telescope import ConstantPointing, FilePointing
from forebay.stream.bunches import BunchInlet
from forebay.stream.logs import LogInlet
from forebay.stream.message_publisher import PUBLISHER_COUNTERS, MessagePublisher
from forebay.stream.monitoring import MonitorInlet

_NETWORK = {
    "logs": LogInlet,
    "triggers": TriggerInlet,
    "timestamps": BunchInlet,
    "monitoring": MonitorInlet,
}


def inlet(config: Config, name: str, stop: threading.Event) -> None:
    """Take in and publish the messages of inlet `name` until `stop`, and what is in flight then.

    Raises
    ------
    ConfigError
        If there is no such inlet, or an address is none.
    StreamError
        If an address is taken or not allowed.
    """
    asked = _config(config, name)
    with ExitStack() as stack:
        source = _source(asked)
        stack.callback(source.close)
        publishers = []
        for one in asked.outlets:
            publishers.append(
                MessagePublisher(str(one.address), one.port, one.mode, name=f"{one.address}:{one.port}")
            )
            stack.callback(publishers[-1].close)
        receiver = MessageReceiver(source, publishers)
        stack.enter_context(monitored(name, asked.monitor, lambda: (receiver.n_received, ())))
        notify("READY=1")
        say("receiving", kind=asked.kind, source=getattr(source, "endpoint", ""), publishers=len(publishers))
        stack.enter_context(counted(lambda: counters_of(receiver.status())))
        receiver.run(stop.is_set)
    say("received", **counters_of(receiver.status()))
    if receiver.failed:
        raise receiver.failed[0]


def counters_of(status: dict[str, Any]) -> dict[str, int]:
    """Return the counters of the inlet and, added up, of its publishers, from the status of a receiver."""
    told = dict(status["receiver"])
    for name in PUBLISHER_COUNTERS:
        told[f"publishers_{name}"] = sum(one[name] for one in status["publishers"])
    return told


def _config(config: Config, name: str) -> InletConfig:
    if name not in config.inlets:
        known = ", ".join(config.inlets) or "none"
        raise ConfigError(f"The inlet {name!r} is not configured.", f"Configured are: {known}.")
    return config.inlets[name]


def _source(asked: InletConfig) -> Inlet:
    if asked.kind != "telescope":
        source: Inlet = _NETWORK[asked.kind](*asked.end)
        return source
    if asked.file is None:
        return ConstantPointing(asked.ra, asked.dec, asked.period_s)
    return FilePointing(asked.file, asked.period_s)
