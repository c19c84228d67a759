"""The hub service: the embedded bus of one host."""

from __future__ import annotations

import threading

from forebay.config import Config
from forebay.errors import ConfigError
from forebay.run.bus.hub import Hub
from forebay.service.process import notify, say


def hub(config: Config, name: str, stop: threading.Event) -> None:
    """Serve the embedded bus until `stop`; `name` is for the log only, a host has one hub.

    Raises
    ------
    ConfigError
        If the configuration names another bus, or the runtime directory is not this user's alone.
    BusError
        If another hub keeps the journal, or it cannot be used.
    StreamError
        If another hub has the socket.
    """
    if config.bus != "embedded":
        raise ConfigError(
            "A hub was asked for, but the configuration names another bus.",
            "Set bus: embedded, or start no hub.",
        )
    serving = Hub(config)
    try:
        notify("READY=1")
        waiting = {queue: n_waiting for queue, (n_waiting, _) in serving.queues().items() if n_waiting}
        say("serving the bus", hub=name, journal=serving.journal_path, waiting=waiting or "nothing")
        serving.run(stop)
    finally:
        say("served the bus", **serving.counters)
        serving.close()
