"""What the tools for bsread streams do: look, count, record, send."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from forebay.errors import WireError
from forebay.event import Event
from forebay.ports import Source
from forebay.pulse import MAX_PULSE_ID, PulseRange
from forebay.service.analyzer import KINDS, Analyzer
from forebay.service.bsread_disk import open_ring
from forebay.service.bsread_window import Window
from forebay.service.process import say
from forebay.service.pump import pump
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelRecording
from forebay.store.channel_source import ChannelSource
from forebay.store.manifest import Counters, Request
from forebay.wire.bsread import BsreadArrays, Frame, encode

_MOST_ELEMENTS = 4
_WAIT_S = 0.1


class Column(NamedTuple):
    """One channel as people read it."""

    name: str
    type: str
    shape: str
    value: object


def value_rows(event: Event, wanted: Sequence[str] | None = None) -> list[Column]:
    """Return the channels of a message; the value is None where it is missing or cannot be read."""
    arrays = event.arrays
    if not isinstance(arrays, BsreadArrays):
        return []
    rows = []
    for channel in arrays.header.channels:
        if wanted and channel.name not in wanted:
            continue
        value: object = None
        try:
            array = arrays[channel.name]
            value = (
                array.item() if array.size == 1 else _shortened(array.ravel()[: _MOST_ELEMENTS + 1].tolist())
            )
        except (KeyError, WireError):
            value = None
        rows.append(Column(channel.name, channel.type, "x".join(map(str, channel.shape)), value))
    return rows


def _shortened(values: list[object]) -> str:
    text = ", ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values[:_MOST_ELEMENTS])
    return f"[{text}{', ...' if len(values) > _MOST_ELEMENTS else ''}]"


class StreamStatistics:
    """Rates and anomalies of a stream; a sink."""

    def __init__(self) -> None:
        self._analyzer = Analyzer(lambda _kind, _fields: None)
        self._counters: Mapping[str, int] = {}
        self._begun: float | None = None
        self._pulse_id = -1

    def write(self, events: Sequence[Event]) -> None:
        """Count these."""
        self._begun = self._begun or time.monotonic()
        self._analyzer.write(events)
        if events:
            self._pulse_id = events[-1].pulse_id

    def received(self, counters: Mapping[str, int]) -> None:
        """Take over what the stream's receiver counted."""
        self._counters = counters

    def close(self) -> None:
        """Nothing to let go of."""

    def summary(self) -> dict[str, object]:
        """Return what is shown, by name."""
        seconds = max(time.monotonic() - (self._begun or time.monotonic()), 1e-3)
        counters = self._analyzer.counters
        return {
            "messages": counters["messages"],
            "rate_hz": round(counters["messages"] / seconds, 2),
            "mbit_per_s": round(self._counters.get("bytes", 0) * 8e-6 / seconds, 3),
            "pulse_id": self._pulse_id,
            "missed_pulses": counters["missed_pulses"],
            **{kind: counters[kind] for kind in KINDS},
            "malformed": self._counters.get("malformed", 0),
            "header_changes": self._counters.get("header_changes", 0),
        }


@dataclass(slots=True)
class Recorded:
    """What a recording holds: messages, channels; pulses of a range that are missing; why it ended."""

    messages: int = 0
    channels: int = 0
    first_pulse: int = -1
    last_pulse: int = -1
    missing: int = 0
    reason: str = ""


def record_stream(
    source: Source,
    path: Path,
    name: str,
    stop: Callable[[], bool],
    channels: Sequence[str],
    count: int | None,
    pulses: PulseRange | None,
    layout: str,
    idle_s: float,
) -> Recorded:
    """Record messages of `source`, which is closed at the end, to a file.

    Raises
    ------
    StoreError
        If the file cannot be written.
    RangeError
        If the range has a step: streams are recorded whole.
    """
    request = Request(pulses=None if pulses is None else str(pulses), images=count)
    recording = ChannelRecording(source=name, layout=layout, channels=tuple(channels), requested=request)
    recorded = Recorded()
    try:
        file = ChannelFile(path, recording)
        window = Window(source, idle_s=idle_s, first_pulse=pulses.first if pulses else None)
        window.set_last_pulse(pulses.last if pulses else MAX_PULSE_ID)  # nothing is held back for a later end
        counted = _Counted(window, count, recorded, pulses, stop)
        try:
            pump(counted, [file], lambda: False)
        finally:
            recorded.reason = recorded.reason or window.reason or "stopped"
            file.conclude(recorded.reason, Counters())
            file.close()
    finally:
        source.close()
    recorded.messages = file.counters["written"]
    if file.manifest is not None:
        recorded.channels = len(file.manifest.channels)
        recorded.missing = sum(one.missing.n for one in file.manifest.sources.values())
    return recorded


class _Counted:
    """A source that ends after so many events, and soon after `stop`."""

    def __init__(
        self,
        source: Window,
        count: int | None,
        recorded: Recorded,
        pulses: PulseRange | None,
        stop: Callable[[], bool],
    ) -> None:
        self._source = source
        self._left = count
        self._recorded = recorded
        self._pulses = pulses
        self._stop = stop

    def read(self, timeout: float) -> Sequence[Event] | None:
        if self._left == 0:
            self._recorded.reason = "count reached"
            return None
        if self._stop():
            self._source.finish()
        events = self._source.read(timeout)
        if not events:
            return events
        if self._pulses is not None:
            events = [event for event in events if event.pulse_id in self._pulses]
        if self._left is not None:
            events = events[: self._left]
            self._left -= len(events)
        if events:
            if self._recorded.first_pulse < 0:
                self._recorded.first_pulse = events[0].pulse_id
            self._recorded.last_pulse = events[-1].pulse_id
        return events

    def close(self) -> None:
        self._source.close()


class Outlet(Protocol):
    """Where messages go to; see `forebay.stream.bsread.BsreadOutlet`."""

    endpoint: str

    def send(self, parts: Sequence[Frame], timeout: float) -> bool:
        """Send one message, or say that nobody took it."""
        ...

    def close(self, linger: float = 1.0) -> None:
        """Send what waits, then close."""
        ...


@dataclass(slots=True)
class Sent:
    """What was sent."""

    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0


def send_paced(
    messages: Iterable[tuple[Sequence[Frame], float]], outlet: Outlet, stop: threading.Event
) -> Sent:
    """Send messages, each so many seconds after the one before, until they end or `stop`.

    A consumer that waits makes the source wait; time that was lost is not made up for.
    """
    sent = Sent()
    begun = due = time.monotonic()
    say("sending", endpoint=outlet.endpoint)
    try:
        for parts, wait_s in messages:
            due = max(due + (wait_s if sent.messages else 0.0), time.monotonic() - 1.0)
            if stop.wait(max(0.0, due - time.monotonic())):
                break
            while not outlet.send(parts, _WAIT_S):
                if stop.is_set():
                    break
            else:
                sent.messages += 1
                sent.bytes += sum(map(len, parts))
            if stop.is_set():
                break
    finally:
        sent.seconds = round(time.monotonic() - begun, 3)
        outlet.close(0.0 if stop.is_set() else 5.0)
    return sent


def recorded_messages(what: Path, speed: float) -> Iterator[tuple[Sequence[Frame], float]]:
    """Return the messages of a file or of a ring on disk, oldest first, with the time between them.

    Raises
    ------
    RingError
        If the directory is no ring.
    StoreError
        If the file holds no channels.
    """
    if what.is_dir():
        ring = open_ring(what)
        span = ring.span
        return _paced(iter(()) if span is None else ring.read(span), speed)
    return _paced(ChannelSource(what).events(), speed)


def _paced(events: Iterator[Event], speed: float) -> Iterator[tuple[Sequence[Frame], float]]:
    before_ns: int | None = None
    for event in events:
        elapsed = 0.0 if before_ns is None else (event.time_ns - before_ns) / 1e9
        before_ns = event.time_ns
        yield encode(event), max(0.0, elapsed / speed) if speed else 0.0
