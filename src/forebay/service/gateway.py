"""The gateway service: the REST interface of this installation."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack

from forebay.config import Config
from forebay.errors import ConfigError, ServiceError
from forebay.run.bus import connect
from forebay.run.operator import Operator
from forebay.service.process import notify, say
from forebay.store.catalog import open_catalog

_LOOK_S = 0.2
_NICE = 10  # whoever asks, however often: the data path has the cores first


def gateway(config: Config, name: str, stop: threading.Event) -> None:
    """Serve the REST interface until `stop`; `name` is for the log only.

    Raises
    ------
    ConfigError
        If no interface is configured, its libraries are not installed, or its address is open to others
        while nobody checks who comes.
    ServiceError
        If the port or the certificate cannot be used.
    BusError, CatalogError
        If bus or catalogue cannot be reached.
    """
    api = config.api
    if api is None:
        raise ConfigError("The configuration has no REST interface.", "Add api: {} to it.")
    try:
        from forebay.api.feed import Feed
        from forebay.api.guard import Guard, check_bind, is_loopback
        from forebay.api.rest import rest_app
        from forebay.api.route import Rest
        from forebay.api.server import Server, open_port
        from forebay.api.tokens import TokenFile
        from forebay.service.metrics import Metrics
        from forebay.service.pictures import Pictures
    except ImportError as error:
        raise ConfigError(
            f"The REST interface needs a library that is not installed ({error.name}).",
            "Install it: pip install 'forebay[api]'",
        ) from error

    tokens = TokenFile(config.state_dir)
    check_bind(api, tokens)
    if not is_loopback(api.address) and api.certificate is None and not api.behind_proxy:
        say("tokens and data cross the network in the clear", logging.WARNING, mend="set api.certificate")
    os.nice(_NICE)
    with ExitStack() as stack:
        port = open_port(api.address, api.port)
        stack.callback(port.close)
        bus = connect(config, name=f"gateway {name}")
        stack.callback(bus.close)
        catalog = open_catalog(config)
        stack.callback(catalog.close)
        operator = Operator(config, bus, catalog, who=f"gateway {name}")
        stack.callback(operator.close)
        feed = Feed(operator, api.max_watchers)
        metrics = Metrics(config, operator, feed)
        stack.callback(metrics.close)
        pictures = Pictures(config)
        stack.callback(pictures.close)
        app = rest_app(Rest(config, operator, feed, metrics.text, pictures.picture))
        server = Server(Guard(app, api, tokens), port, api)
        stack.callback(server.close)
        stack.callback(feed.close)  # first of all: it ends the answers that would go on for ever
        server.start()
        notify("READY=1")
        say(
            "serving",
            gateway=name,
            url=f"{'http' if api.certificate is None else 'https'}://{api.address}:{api.port}",
            tokens="needed" if tokens.exists else "not needed",
        )
        while not stop.wait(_LOOK_S):
            if not server.is_alive:
                raise ServiceError("The REST interface ended by itself.", "Its last log line says why.")
    say("served", gateway=name, **feed.counters)
