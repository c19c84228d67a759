"""The publish service: a detector's events for other processes, here and on other hosts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from forebay.config import Config, StreamConfig
from forebay.errors import ConfigError, RingError, StreamError
from forebay.event import Event
from forebay.service.counted import counted
from forebay.service.follow import follow
from forebay.service.process import notify, say
from forebay.service.pump import pump
from forebay.service.tables import detector_config
from forebay.stream.zmq import Publisher, Pusher


class _Push:
    """A pusher that goes on when its reader is away; what was not sent is counted and said once."""

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher
        self._is_stuck = False

    def write(self, events: Sequence[Event]) -> None:
        """Send these events one by one."""
        for event in events:
            try:
                self._pusher.write([event])
            except (StreamError, RingError) as error:
                if not self._is_stuck:
                    say("events are not taken", logging.WARNING, endpoint=self._pusher.endpoint, reason=error)
                self._is_stuck = True
            else:
                self._is_stuck = False

    def close(self) -> None:
        """Send what waits."""
        self._pusher.close()


def publish(config: Config, name: str, stop: threading.Event) -> None:
    """Send the events of detector `name` to every configured stream until `stop`.

    Each stream has a position of its own in the ring: a slow reader delays no other.

    Raises
    ------
    ConfigError
        If the detector has no streams configured.
    RingError
        If there is no ring within 10 s.
    StreamError
        If an endpoint is taken or not allowed.
    """
    streams = detector_config(config, name).streams
    if not streams:
        raise ConfigError(
            f"Detector {name} has no streams.", f"Add detectors.{name}.streams to the configuration."
        )
    sinks = [_open(stream) for stream in streams]
    failures: list[RingError] = []
    threads = [
        threading.Thread(target=_serve, args=(config, name, stop, sink, failures), name=stream.endpoint)
        for stream, sink in zip(streams, sinks, strict=True)
    ]
    for thread in threads:
        thread.start()
    notify("READY=1")
    with counted(lambda: _sum([sink.counters for sink in sinks])):
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def _open(stream: StreamConfig) -> Publisher | Pusher:
    kind = Publisher if stream.kind == "publish" else Pusher
    return kind(stream.endpoint, compressed=stream.compressed)


def _sum(counters: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = {name: None for one in counters for name in one}
    return {name: sum(one.get(name, 0) for one in counters) for name in names}


def _serve(
    config: Config, name: str, stop: threading.Event, sink: Publisher | Pusher, failures: list[RingError]
) -> None:
    n_lost = 0
    try:
        source = follow(config, name, stop)
        if source is None:
            return
        say("sending", endpoint=sink.endpoint)
        try:
            pump(source, [_Push(sink) if isinstance(sink, Pusher) else sink], stop.is_set)
        finally:
            n_lost = source.n_lost
            source.close()
    except RingError as error:
        failures.append(error)
        stop.set()
    finally:
        say("sent", endpoint=sink.endpoint, lost_in_ring=n_lost, **sink.counters)
        sink.close()
