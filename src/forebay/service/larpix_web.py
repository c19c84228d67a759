"""Serves the monitor's interface: on loopback for all, elsewhere for those who have a token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forebay.config import ApiConfig
from forebay.errors import ConfigError
from forebay.front.larpix.desk import Desk
from forebay.service.larpix_shown import Shown
from forebay.service.larpix_tally import Tally
from forebay.service.process import say
from forebay.stream.listen import listen

if TYPE_CHECKING:
    from forebay.front.larpix.monitor_rest import MonitorApp


def interface(
    shown: Shown, tally: Tally, api: ApiConfig, state_dir: Path, desk: Desk | None = None
) -> tuple[Any, MonitorApp]:
    """Return the application behind its guard, and what it was made of.

    Raises
    ------
    ConfigError
        If the libraries are not installed, or the address is open to others and there is no token.
    """
    try:
        from forebay.api.answers import catch_errors
        from forebay.api.guard import Guard, check_bind
        from forebay.api.tokens import TokenFile
        from forebay.front.larpix.monitor_rest import monitor_app
        from forebay.service.larpix_metrics import metrics_text
    except ImportError as error:
        raise ConfigError(
            f"The monitor's interface needs a library that is not installed ({error.name}).",
            "Install it: pip install 'forebay[api,larpix-web]'",
        ) from error
    tokens = TokenFile(state_dir)
    check_bind(api, tokens)
    app = monitor_app(shown, lambda: metrics_text(shown, tally), lambda: tally.clear(tally.run), desk)
    catch_errors(app.rest)
    return app.before(Guard(app.asgi, api, tokens)), app


@contextmanager
def served(
    shown: Shown, tally: Tally, api: ApiConfig, state_dir: Path, desk: Desk | None = None
) -> Iterator[Callable[[], None]]:
    """Serve while the body runs; yields what is to be called each second, for browsers that listen.

    Raises
    ------
    ConfigError
        See `interface`.
    ServiceError
        If the port cannot be had.
    """
    asgi, app = interface(shown, tally, api, state_dir, desk)
    from forebay.api.guard import is_loopback
    from forebay.api.server import Server

    port = listen(api.address, api.port, "Stop who uses it, or give the monitor another port.")
    server = Server(asgi, port, api, websocket_bytes=app.websocket_bytes)
    server.start()
    if desk is not None:
        desk.start()
    if not is_loopback(api.address) and api.certificate is None and not api.behind_proxy:
        say("tokens and data cross the network in the clear", logging.WARNING)
    say("serving", url=f"{'http' if api.certificate is None else 'https'}://{api.address}:{api.port}")
    try:
        yield app.tell
    finally:
        if desk is not None:
            desk.close()
        server.close()
