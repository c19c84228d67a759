"""The bus: requests, statuses, kills and calls between processes, on one host or over many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.errors import BusError

if TYPE_CHECKING:
    from forebay.config import Config
    from forebay.ports import Bus
    from forebay.run.bus.embedded import EmbeddedBus
    from forebay.run.bus.rabbit import RabbitBus

PATIENCE_S = 10.0
"""Longest wait for the bus in each method, unless told otherwise."""


def connect(
    config: Config, *, name: str = "forebay", patience_s: float = PATIENCE_S, at_once: bool = True
) -> Bus:
    """Return the bus that ``config.bus`` names, once it can be reached.

    Parameters
    ----------
    name:
        Who we are, for those who look at a broker's list of connections.
    patience_s:
        Longest wait here and in each method of the bus; lost connections are made again meanwhile.
    at_once:
        False returns the bus although it is away: for who may not need it.

    Raises
    ------
    BusError
        If it cannot be reached in that time; the message says what to do.
    ConfigError
        If the runtime directory is not this user's alone.
    """
    bus = _open(config, name, patience_s)
    try:
        if at_once:
            bus.reach(patience_s)
    except BusError:
        bus.close()
        raise
    return bus


def _open(config: Config, name: str, patience_s: float) -> EmbeddedBus | RabbitBus:
    if config.bus == "embedded":
        from forebay.run.bus.embedded import EmbeddedBus

        return EmbeddedBus(config, patience_s)
    try:
        from forebay.run.bus.rabbit import open_rabbit
    except ImportError as error:
        raise BusError(
            f"RabbitMQ needs a library that is not installed ({error.name}).",
            "Install it: pip install 'forebay[rabbitmq]'",
        ) from error
    return open_rabbit(config.bus, name, patience_s)
