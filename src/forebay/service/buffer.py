"""The buffer service: a detector's images, compressed once, into a ring on disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.config import BufferConfig, Config
from forebay.errors import ConfigError, OverwrittenError
from forebay.event import Event
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter
from forebay.ring.images import compressed, encode
from forebay.ring.segment import Part
from forebay.service.counted import counted
from forebay.service.follow import RingFollower, follow
from forebay.service.process import notify, say
from forebay.service.tables import detector_config
from forebay.wire.compress import bound

READ_S: Final = 0.02
"""How long an image may wait for others to be written with."""

REPORT_S: Final = 60.0

_Parts = tuple[Sequence[Part], NDArray[np.uint8]]


class ImageBuffer:
    """A sink for the images of one detector: threads compress, the caller's thread writes, in order.

    Images that a killed predecessor has written already are left out.

    Parameters
    ----------
    image_shape, pixel:
        (row, column) of an image and the type of its pixels.

    Attributes
    ----------
    overwritten:
        Images that left the ring before they were compressed.
    known:
        Images left out.

    Raises
    ------
    RingError
        If the ring on disk has another writer or cannot be used.
    """

    def __init__(self, config: BufferConfig, image_shape: tuple[int, int], pixel: np.dtype[np.uint8]) -> None:
        self.overwritten = self.known = 0
        self._writer = RecordWriter(config.directory, DiskLimits(config.max_bytes, config.max_age_s))
        self._newest = _newest(RecordReader(config.directory))
        self._pool = ThreadPoolExecutor(config.threads, "compress")
        self._free: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
        self._pending: deque[tuple[Event, Future[_Parts | None]]] = deque()
        self._n_buffers = 4 * config.threads
        n_bytes = bound(image_shape[0] * image_shape[1], pixel.itemsize)
        for _ in range(self._n_buffers):
            self._free.put(np.full(n_bytes, 0, np.uint8))  # touched now: first use is slow

    @property
    def counters(self) -> dict[str, Any]:
        """What became of the images."""
        return {**asdict(self._writer.counters), "overwritten": self.overwritten, "known": self.known}

    def write(self, events: Sequence[Event]) -> None:
        """Take these images; some may be under way on return, see `flush`."""
        for event in events:
            if event.pulse_id <= self._newest[0] and event.time_ns <= self._newest[1]:
                self.known += 1
                continue
            if len(self._pending) == self._n_buffers:
                self._put(1 + sum(1 for _, future in self._pending if future.done()) // 2)
            self._pending.append((event, self._pool.submit(self._compress, event, self._free.get())))

    def flush(self) -> None:
        """Write what is under way."""
        self._put(len(self._pending))

    def close(self) -> None:
        """Write what is under way and close the ring; may be called twice."""
        try:
            self.flush()
        finally:
            self._pool.shutdown()
            self._writer.close()

    def _compress(self, event: Event, buffer: NDArray[np.uint8]) -> _Parts | None:
        try:
            return encode(compressed(event, buffer)), buffer
        except OverwrittenError:
            self._free.put(buffer)
            return None
        except BaseException:
            self._free.put(buffer)
            raise

    def _put(self, n: int) -> None:
        """Write the oldest `n` of what is under way."""
        records = []
        buffers = []
        for _ in range(n):
            event, future = self._pending.popleft()
            made = future.result()
            if made is None:
                self.overwritten += 1
            else:
                records.append((event.pulse_id, event.time_ns, made[0]))
                buffers.append(made[1])
        if records:
            self._writer.write(records)
        for buffer in buffers:
            self._free.put(buffer)


def _newest(reader: RecordReader) -> tuple[int, int]:
    """Return pulse id and time of the newest that is there; what is not newer in both was written."""
    records = reader.follow("newest").read(0) if reader.time_span is not None else ()
    return (records[-1].pulse_id, records[-1].time_ns) if records else (-1, -1)


def buffer(config: Config, name: str, stop: threading.Event) -> None:
    """Buffer the images of detector `name` until `stop`, then what is still in its ring.

    Raises
    ------
    ConfigError
        If there is no such detector, or it has no buffer.
    RingError
        If there is no ring within 10 s, or the buffer cannot be written.
    """
    asked = detector_config(config, name).buffer
    if asked is None:
        raise ConfigError(
            f"Detector {name} has no buffer.", f"Give it one: detectors.{name}.buffer.directory."
        )
    source = follow(config, name, stop, "oldest")
    if source is None:
        return
    try:
        sink = ImageBuffer(asked, source.ring.image_shape, source.ring.pixel)
        try:
            notify("READY=1")
            say("buffering", directory=asked.directory, max_bytes=asked.max_bytes)
            with counted(lambda: {**sink.counters, "lost": source.n_lost}):
                _fill(sink, source, stop)
        finally:
            sink.close()
            say("buffered", lost=source.n_lost, **sink.counters)
    finally:
        source.close()


def _fill(sink: ImageBuffer, source: RingFollower, stop: threading.Event) -> None:
    """Move images until `stop`, then those that are still there."""
    reported, n_lost = time.monotonic(), 0
    while True:
        is_last = stop.is_set()
        events = source.read(0 if is_last else READ_S)
        sink.write(events)
        if source.n_behind == 0:
            sink.flush()
        if is_last and not events:
            return
        lost = source.n_lost + sink.overwritten
        if time.monotonic() - reported >= REPORT_S or (lost > n_lost and not n_lost):
            reported, n_lost = time.monotonic(), lost
            say("buffering", logging.WARNING if lost else logging.INFO, lost=lost, **sink.counters)
