"""The services by the name under which they are started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module

from forebay.config import Config
from forebay.errors import ConfigError

DETECTOR_ROLES = ("receive", "assemble", "live", "publish")
"""Services of a detector, in the order in which data walk through them."""

WORKER_ROLES = ("record", "retrieve")
"""Services that carry out jobs; see `forebay.run.jobs.KINDS` for which."""

ROLES = ("hub", *DETECTOR_ROLES, "epics", *WORKER_ROLES, "gateway")

Body = Callable[[Config, str, threading.Event], None]


def role_of(name: str) -> Body:
    """Return the body of a service; imported only now, because each needs other libraries.

    Raises
    ------
    ConfigError
        If there is no such service.
    """
    if name not in ROLES:
        raise ConfigError(f"There is no service {name!r}.", f"The services are: {', '.join(ROLES)}.")
    module = "worker" if name in WORKER_ROLES else name
    body: Body = getattr(import_module(f"forebay.service.{module}"), name)
    return body
