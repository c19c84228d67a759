"""Subscriptions by Channel Access."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from forebay.errors import ConfigError, WireError
from forebay.stream.epics_inbox import Inbox
from forebay.wire import epics_types


class CaClient:
    """One subscription for each PV, in a thread with an event loop of its own.

    Every update that the library hands over is taken. A server whose queue is full merges updates, and
    the protocol does not tell.

    Parameters
    ----------
    names:
        Our name to the name in Channel Access.
    archive_deadband, long_strings:
        As in `forebay.stream.epics.EpicsSource`.

    Raises
    ------
    ConfigError
        If aioca is not installed.
    """

    def __init__(
        self, names: Mapping[str, str], inbox: Inbox, archive_deadband: bool, long_strings: frozenset[str]
    ) -> None:
        try:
            import aioca
        except ImportError as error:
            raise ConfigError(
                "Channel Access needs aioca.", "Install it: pip install 'forebay[epics]'"
            ) from error
        self._aioca: Any = aioca
        self._inbox = inbox
        self._names = names
        self._long_strings = long_strings
        self._mask = aioca.DBE_VALUE | aioca.DBE_ALARM | (aioca.DBE_LOG if archive_deadband else 0)
        self._subscriptions: dict[str, Any] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="channel access", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all subscriptions; nothing is put afterwards."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            for name in self._names:
                self._subscribe(name)
            await self._stop.wait()
        finally:
            for subscription in self._subscriptions.values():
                subscription.close()
            self._aioca.purge_channel_caches()

    def _subscribe(self, name: str) -> None:
        self._subscriptions[name] = self._aioca.camonitor(
            self._names[name],
            partial(self._on_update, name),
            events=self._mask,
            datatype=self._aioca.DBR_CHAR_STR if name in self._long_strings else None,
            format=self._aioca.FORMAT_TIME,
            all_updates=True,
            notify_disconnect=True,
        )

    def _resubscribe(self, name: str) -> None:
        """Begin anew, for the channel may come back with another type or length."""
        self._subscriptions[name].close()
        self._subscribe(name)

    def _on_update(self, name: str, update: Any) -> None:
        if not update.ok:
            self._inbox.put_disconnected(name)
            self._loop.call_soon(self._resubscribe, name)  # not now: the channel is calling us
            return
        try:
            value = epics_types.ca_array(update, update.datatype)
        except (WireError, ValueError, OverflowError):
            self._inbox.put_unreadable()
            return
        self._inbox.put_value(
            name,
            epics_types.time_ns(*update.raw_stamp),
            epics_types.ca_status(update.status),
            epics_types.severity_of(update.severity),
            value,
        )
