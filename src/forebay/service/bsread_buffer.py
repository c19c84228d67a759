"""The buffer service of bsread: the recent past of one stream, for any number of consumers."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NoReturn

from forebay.errors import ForebayError, RingError
from forebay.event import Event
from forebay.front.bsread.arguments import BufferArguments, buffer_arguments
from forebay.ports import Sink
from forebay.ring.disk import DiskRing
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.memory import MemoryRing
from forebay.service.analyzer import Analyzer
from forebay.service.process import LOG, notify, say, service_life
from forebay.service.pump import pump
from forebay.stream.bsread import BsreadInlet, address
from forebay.stream.fanout import Consumer, FanOut
from forebay.wire.bsread import HeaderCache, decode, encode

LINGER_S = 2.0
"""How long consumers may read what is left once the service is asked to stop."""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``sf_bsread_buffer``: exit code 0 after a signal, 1 for an error, 2 for wrong arguments."""
    arguments = buffer_arguments(words)
    with service_life("sf_bsread_buffer", None) as stop:
        LOG.setLevel(arguments.log_level)
        buffer(arguments, stop)
    sys.exit(0)


def buffer(arguments: BufferArguments, stop: threading.Event) -> None:
    """Keep and hand on what the source sends until `stop`.

    Messages are kept and forwarded as they came; only their headers are read.

    Raises
    ------
    ConfigError
        If the address of the stream is none.
    StreamError
        If the output port is in use or not to be opened.
    RingError
        If the ring on disk cannot be opened.
    """
    source = address(arguments.stream)
    with ExitStack() as stack:
        ring = MemoryRing(arguments.buffer_length, arguments.buffer_bytes or _memory_bytes() // 4)
        sinks: list[Sink] = [ring]
        if arguments.ring is not None:
            sinks.append(_DiskSink(arguments))
        if arguments.analyzer:
            sinks.append(Analyzer(_tell))
        if LOG.isEnabledFor(logging.DEBUG):
            sinks.append(_Talk())
        for sink in sinks[1:]:
            stack.callback(sink.close)
        output = FanOut(
            ring.reader,
            encode,
            f"tcp://{arguments.bind}:{arguments.output_port}",
            public=arguments.public,
            on_change=_say_consumer,
        )
        stack.callback(output.close, LINGER_S)
        stack.callback(ring.close)
        inlet = BsreadInlet(source, arguments.mode)
        stack.callback(inlet.close)
        say("listening", stream=source, output=output.endpoint, length=arguments.buffer_length)
        notify("READY=1")
        watched = _Watched(inlet)
        pump(watched, sinks, stop.is_set)
        say("stopping", **inlet.counters)
    say(
        "stopped",
        expired=ring.expired,
        too_large=ring.refused,
        **{f"consumers_{key}": value for key, value in output.counters.items()},
    )


class _Watched:
    """The inlet, with a log line when messages cannot be read: at most one for each power of two."""

    def __init__(self, inlet: BsreadInlet) -> None:
        self._inlet = inlet
        self._next = 1

    def read(self, timeout: float) -> Sequence[Event] | None:
        events = self._inlet.read(timeout)
        n_malformed = self._inlet.counters["malformed"]
        if n_malformed >= self._next:
            say("malformed messages", logging.WARNING, n=n_malformed, last=self._inlet.last_problem)
            while self._next <= n_malformed:
                self._next *= 2
        return events

    def close(self) -> None:
        self._inlet.close()


class _DiskSink:
    """The ring on disk; a disk that breaks down stops neither the ring in memory nor the consumers."""

    def __init__(self, arguments: BufferArguments) -> None:
        assert arguments.ring is not None
        cache = HeaderCache()
        self._ring = DiskRing(
            arguments.ring,
            encode,
            lambda parts: decode(parts, cache),
            DiskLimits(max_bytes=arguments.ring_bytes),
        )
        self._lost = 0

    def write(self, events: Sequence[Event]) -> None:
        try:
            self._ring.write(events)
        except RingError as error:
            if not self._lost:
                say("the ring on disk takes nothing", logging.ERROR, reason=error)
            self._lost += len(events)

    def close(self) -> None:
        try:
            self._ring.close()
        except ForebayError as error:
            say("the ring on disk was not closed", logging.ERROR, reason=error)
        counters = self._ring.counters
        say("ring on disk", written=counters.written, not_written=counters.not_written + self._lost)


class _Talk:
    """A line for each message, at log level DEBUG only."""

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            say("message added", logging.DEBUG, pulse_id=event.pulse_id, time_ns=event.time_ns)

    def close(self) -> None:
        """Nothing to let go of."""


def _tell(kind: str, fields: dict[str, object]) -> None:
    say(f"anomaly: {kind}", logging.WARNING, **fields)


def _say_consumer(word: str, consumer: Consumer) -> None:
    level = logging.WARNING if consumer.lost or word.startswith("refused") else logging.INFO
    say(
        word,
        level,
        peer=consumer.peer,
        kind=consumer.kind,
        sent=consumer.sent,
        lost=consumer.lost,
        reason=consumer.reason,
    )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
