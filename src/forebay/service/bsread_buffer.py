"""The buffer service of bsread: the recent past of one stream, for any number of consumers."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any, NoReturn

from forebay.errors import ServiceError
from forebay.event import Event
from forebay.front.bsread.arguments import BufferArguments, buffer_arguments
from forebay.ports import Sink
from forebay.ring.memory import MemoryRing
from forebay.service.analyzer import Analyzer
from forebay.service.bsread_disk import DiskSink
from forebay.service.bsread_silence import Audible
from forebay.service.counted import counted
from forebay.service.process import LOG, notify, say, service_life, warn
from forebay.service.pump import pump
from forebay.stream.bsread import BsreadInlet, address
from forebay.stream.fanout import Consumer, FanOut
from forebay.wire.bsread import encode

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
    ServiceError
        If the REST port cannot be had.
    """
    source = address(arguments.stream)
    with ExitStack() as stack:
        buffer = Buffer(arguments)
        for sink in buffer.sinks:
            if sink is not buffer.ring:
                stack.callback(sink.close)
        output = buffer.serve()
        stack.callback(output.close, LINGER_S)
        stack.callback(buffer.ring.close)
        if arguments.rest_port is not None:
            stack.enter_context(_rest(buffer, arguments.rest_port))
        inlet = buffer.connect(source)
        stack.callback(inlet.close)
        say("listening", stream=source, output=output.endpoint, length=arguments.buffer_length)
        notify("READY=1")
        with counted(lambda: buffer.counters):
            heard = Audible(_Watched(inlet), source, arguments.mode, warn)
            pump(heard, buffer.sinks, stop.is_set)
        say("stopping", **inlet.counters)
    say(
        "stopped",
        expired=buffer.ring.expired,
        too_large=buffer.ring.refused,
        **{f"consumers_{key}": value for key, value in output.counters.items()},
    )


class Buffer:
    """What a buffer consists of, and what it counts.

    What is in `ring` is on disk already, so that whoever finds something on disk followed by something in
    memory has missed nothing.

    Attributes
    ----------
    ring:
        The recent past in memory; filled from the ring on disk by `connect`.
    sinks:
        Where messages go to, in this order.
    """

    def __init__(self, arguments: BufferArguments) -> None:
        self._arguments = arguments
        max_bytes = arguments.buffer_bytes or _memory_bytes() // 4
        self.ring = MemoryRing(arguments.buffer_length, max_bytes)
        self._disk = (
            None
            if arguments.ring is None
            else DiskSink(arguments.ring, arguments.ring_bytes, arguments.ring_age_s, arguments.ring_group)
        )
        self._analyzer = Analyzer(_tell) if arguments.analyzer else None
        talk = _Talk() if LOG.isEnabledFor(logging.DEBUG) else None
        all_of_them: list[Sink | None] = [self._disk, self.ring, self._analyzer, talk]
        self.sinks = [sink for sink in all_of_them if sink is not None]
        self._output: FanOut | None = None
        self._inlet: BsreadInlet | None = None

    def serve(self) -> FanOut:
        """Open the output port; `StreamError` if that cannot be."""
        asked = self._arguments
        self._output = FanOut(
            self.ring.reader,
            encode,
            f"tcp://{asked.bind}:{asked.output_port}",
            public=asked.public,
            on_change=_say_consumer,
        )
        return self._output

    def connect(self, source: str) -> BsreadInlet:
        """Connect to the source, and fill the memory while its messages wait."""
        self._inlet = BsreadInlet(source, self._arguments.mode)
        if self._disk is not None:
            self._disk.refill(self.ring, self.ring.max_events, self.ring.max_bytes)
        return self._inlet

    @property
    def counters(self) -> dict[str, object]:
        """What came and what became of it, for the status of the service: ``input_received`` and so on."""
        memory = {"expired": self.ring.expired, "too_large": self.ring.refused}
        parts: dict[str, dict[str, Any]] = {
            "input": dict(self._inlet.counters) if self._inlet else {},
            "memory": memory,
            "disk": self._disk.counters if self._disk else {},
            "output": dict(self._output.counters) if self._output else {},
            "anomalies": dict(self._analyzer.counters) if self._analyzer else {},
        }
        return {f"{part}_{name}": value for part, some in parts.items() for name, value in some.items()}

    @property
    def statistics(self) -> dict[str, object]:
        """What came, what is kept, who reads, and what each of them lost."""
        span = self.ring.span
        output = self._output
        return {
            "stream": self._arguments.stream,
            "first_pulse_id": span.first if span else None,
            "last_pulse_id": span.last if span else None,
            "input": dict(self._inlet.counters) if self._inlet else {},
            "memory": {
                "messages": len(self.ring),
                "bytes": self.ring.n_bytes,
                "expired": self.ring.expired,
                "too_large": self.ring.refused,
            },
            "disk": self._disk.counters if self._disk else None,
            "output": dict(output.counters) if output else {},
            "consumers": [asdict(one) for one in list(output.consumers)] if output else [],
            "anomalies": dict(self._analyzer.counters) if self._analyzer else None,
        }


@contextmanager
def _rest(buffer: Buffer, number: int) -> Iterator[None]:
    """Answer what programs on this host ask."""
    try:
        from forebay.front.bsread.buffer_rest import buffer_app
        from forebay.front.bsread.server import RestServer, open_rest_port
    except ModuleNotFoundError as error:
        raise ServiceError(
            f"The REST interface needs {error.name}, which is not installed.",
            "Run: pip install 'forebay[api]', or leave out --rest_port.",
        ) from error
    with open_rest_port(number) as port:
        server = RestServer(buffer_app(buffer), port)
        server.start()
        try:
            yield
        finally:
            server.close()


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


class _Talk:
    """A line for each message, at log level DEBUG only."""

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            say("message added", logging.DEBUG, pulse_id=event.pulse_id, time_ns=event.time_ns)

    def close(self) -> None:
        """Nothing to let go of."""


def _tell(kind: str, fields: dict[str, object]) -> None:
    warn(f"anomaly: {kind}", fields)


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
