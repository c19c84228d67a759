"""Subscriptions by pvAccess."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from forebay.errors import ConfigError, WireError
from forebay.event import Array
from forebay.stream.epics_inbox import Inbox
from forebay.wire import epics_types

_REQUEST: Final = "field()record[queueSize=1000,pipeline=true]"
"""A queue of our own length on the server, with flow control: what is merged, the server merges."""


class PvaClient:
    """One monitor for each PV, whose updates are taken by one thread, in order.

    A server whose queue is full merges updates; p4p does not show the marks by which pvAccess tells.

    Parameters
    ----------
    names:
        Our name to the name in pvAccess.

    Raises
    ------
    ConfigError
        If p4p is not installed.
    """

    def __init__(self, names: Mapping[str, str], inbox: Inbox) -> None:
        try:
            from p4p.client.thread import Context
            from p4p.util import WorkQueue
        except ImportError as error:
            raise ConfigError("pvAccess needs p4p.", "Install it: pip install 'forebay[epics]'") from error
        self._inbox = inbox
        self._queue: Any = WorkQueue(maxsize=0)
        self._thread = threading.Thread(target=self._queue.handle, name="pvAccess", daemon=True)
        self._thread.start()
        self._context: Any = Context("pva", nt=False)
        self._monitors = [self._monitor(name, plain) for name, plain in names.items()]

    def _monitor(self, name: str, plain: str) -> Any:
        monitor = self._context.monitor(
            plain, partial(self._on_update, name), _REQUEST, notify_disconnect=True, queue=self._queue
        )
        # p4p drops the news of an update that is quicker than this call returns (its log says "Lost
        # Subscription update"), and gets none of later ones: so look once what there is.
        self._queue.push(monitor._handle)  # noqa: SLF001
        return monitor

    def close(self) -> None:
        """End all monitors; nothing is put afterwards."""
        for monitor in self._monitors:
            monitor.close()
        self._context.close()
        self._queue.interrupt()
        self._thread.join()

    def _on_update(self, name: str, update: Any) -> None:
        if isinstance(update, Exception):  # p4p hands over disconnections as exceptions
            self._inbox.put_disconnected(name)
            return
        try:
            value = _value(update)
            alarm, stamp = update.todict("alarm"), update.todict("timeStamp")
        except (WireError, KeyError, TypeError, ValueError, OverflowError):
            self._inbox.put_unreadable()
            return
        severity = epics_types.severity_of(alarm["severity"])
        self._inbox.put_value(
            name,
            epics_types.time_ns(stamp["secondsPastEpoch"], stamp["nanoseconds"]),
            epics_types.pva_status(alarm["status"], severity, alarm["message"]),
            severity,
            value,
        )


def _value(update: Any) -> Array:
    """Return the value of a normative type: scalar, array, text, or the number of an enum's choice."""
    if update.getID().startswith("epics:nt/NTEnum:"):
        return epics_types.pva_array(update["value.index"], "H")
    kind = update.type()["value"]
    if not isinstance(kind, str):
        raise WireError(f"A {update.getID()} cannot be kept.", "Scalars, arrays, text and enums can be.")
    return epics_types.pva_array(update["value"], kind)
