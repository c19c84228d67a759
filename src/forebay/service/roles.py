"""The services: who does what, for which names of a configuration, and in which order they start and stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module

from forebay.config import Config, DetectorConfig
from forebay.errors import ConfigError

Body = Callable[[Config, str, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of service.

    Attributes
    ----------
    names:
        For which names of a configuration there is one.
    starts:
        Services of one number are started together, once all of lower numbers are ready.
    stops:
        Services of lower numbers are stopped first: no new requests, then no new data, each service drains
        what the one before it sent, and who carries the statuses goes last.
    module:
        Where its body is, if not in the module of its name.
    """

    names: Callable[[Config], Iterable[str]]
    starts: int
    stops: int
    module: str = ""


def _detectors(wanted: Callable[[DetectorConfig], object] = lambda _: True) -> Callable[[Config], list[str]]:
    """Return the function that names those detectors of a configuration that want a service."""
    return lambda config: [name for name, detector in config.detectors.items() if wanted(detector)]


def _hub(config: Config) -> list[str]:
    """Return the name of the hub where the bus is embedded and somebody uses it."""
    is_used = config.workers.record or config.workers.retrieve or config.api is not None
    return ["bus"] if config.bus == "embedded" and is_used else []


def _has_sources(config: Config) -> bool:
    """Whether there is anything on this host that can be recorded."""
    return any((config.detectors, config.epics, config.bsread, config.cameras, config.boards))


def _numbered(n_workers: int) -> list[str]:
    return [str(i + 1) for i in range(n_workers)]


ROLES: dict[str, Role] = {
    "hub": Role(_hub, starts=0, stops=9),
    "receive": Role(_detectors(), starts=1, stops=2),
    "assemble": Role(_detectors(), starts=2, stops=3),
    "buffer": Role(_detectors(lambda one: one.buffer), starts=3, stops=4),
    "live": Role(_detectors(lambda one: one.live), starts=3, stops=4),
    "publish": Role(_detectors(lambda one: one.streams), starts=3, stops=4),
    "epics": Role(lambda config: config.epics, starts=1, stops=5),
    "bsread": Role(lambda config: config.bsread, starts=1, stops=5),
    "camera": Role(lambda config: config.cameras, starts=1, stops=2),
    "inlet": Role(lambda config: config.inlets, starts=1, stops=2),
    "boards": Role(lambda config: config.boards, starts=1, stops=2),
    "monitor": Role(lambda c: [name for name, one in c.boards.items() if one.monitor], starts=3, stops=4),
    "record": Role(lambda c: _numbered(c.workers.record if _has_sources(c) else 0), 3, 1, "worker"),
    "retrieve": Role(lambda c: _numbered(c.workers.retrieve), 3, 1, "worker"),
    "gateway": Role(lambda c: [] if c.api is None else ["rest"], starts=4, stops=0),
}
"""Adding a service is a line here and a function of its name in its module."""


def services_of(config: Config) -> list[tuple[str, str]]:
    """Return role and name of every service that a configuration asks for, in the order of their start."""
    found = [(role, name) for role, one in ROLES.items() for name in one.names(config)]
    return sorted(found, key=lambda service: ROLES[service[0]].starts)


def role_of(name: str) -> Body:
    """Return the body of a service; imported only now, because each needs other libraries.

    Raises
    ------
    ConfigError
        If there is no such service.
    """
    if name not in ROLES:
        raise ConfigError(f"There is no service {name!r}.", f"The services are: {', '.join(ROLES)}.")
    body: Body = getattr(import_module(f"forebay.service.{ROLES[name].module or name}"), name)
    return body
