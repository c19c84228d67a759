"""Recording: the events that a request asks for, from a detector's ring into one checked file."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forebay.config import Config
from forebay.errors import OverwrittenError, StoreError
from forebay.event import Event
from forebay.pulse import PulseRange
from forebay.retrieve import Past, Retrieval, Stream
from forebay.ring.disk import DiskReader
from forebay.ring.images import decode
from forebay.ring.shared_past import SharedPast
from forebay.service.again import Again
from forebay.service.follow import RingFollower
from forebay.service.pump import pump
from forebay.service.remembered import unless_on_disk
from forebay.service.select import Selected
from forebay.service.tables import detector_config, packet_layout
from forebay.service.upstream import Upstream
from forebay.store.hdf5 import ImageFile
from forebay.store.manifest import Manifest, Recording, Request, fields_of
from forebay.store.paths import contained, make_folder

_RELEASE_MARGIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How a recording stands.

    Attributes
    ----------
    n_asked:
        Images asked for; None where only time or the stop ends it.
    n_written, n_incomplete, n_lost:
        Images written, images with missing packets, images that came and are lost.
    written_bytes, pixel_bytes:
        Bytes of images as stored and as received.
    ring_fill:
        Part of the ring that waits to be written, 0 .. 1; at 1 images are lost.
    free_bytes:
        Free space where the file is written.
    """

    seconds: float
    n_asked: int | None
    n_written: int
    n_incomplete: int
    n_lost: int
    written_bytes: int
    pixel_bytes: int
    ring_fill: float
    free_bytes: int


class Recorder:
    """One recording of one detector.

    Everything is checked before anything is created.

    Parameters
    ----------
    file:
        Path below ``record.directory``.
    request:
        What to record; exactly one of pulses, images, seconds, or none: until stopped.
    idle_s:
        The recording ends when nothing has come for so long.

    Raises
    ------
    ConfigError
        If the detector is unknown.
    OverwrittenError
        If the pulses asked for have left the ring.
    RingError
        If the detector is not being received, and the range is not wholly in its buffer on disk.
    StoreError
        If the file cannot be written or the disk is nearly full.
    """

    def __init__(
        self, config: Config, name: str, file: str, request: Request, *, idle_s: float = 10.0
    ) -> None:
        detector = detector_config(config, name)
        layout = packet_layout(detector)
        self.path = contained(config.record.directory, file)
        check_disk(config, self.path)
        disk = None if detector.buffer is None else detector.buffer.directory
        past = DiskReader(disk, decode) if disk is not None and request.range is not None else None
        start = "newest" if request.range is None or past is not None else "oldest"
        source = unless_on_disk(
            lambda: RingFollower(name, config.runtime_dir, start),
            None if past is None else past.span,
            request.range,
        )
        self._upstream = Upstream(detector, source)
        try:
            self._selected: Selected | Retrieval
            if past is not None and request.range is not None:
                self._selected = Retrieval(_stream(name, source, past), request.range, idle_s=idle_s)
            else:
                assert source is not None
                _check_past(source, request.range)
                late_s = detector.build.deadline_s + _RELEASE_MARGIN_S
                self._selected = Selected(source, request, idle_s=idle_s, late_s=late_s)
            self._request = request
            make_folder(self.path.parent)
            recording = Recording(
                source=name,
                shape=self._upstream.image_shape,
                dtype=self._upstream.dtype,
                n_modules=self._upstream.n_modules,
                packets_per_module=self._upstream.packets_per_module,
                detector=layout.name,
                header=fields_of(layout.header),
                compression=config.record.compression,
                requested=request,
                configuration=config.model_dump(mode="json"),
                counters=self._upstream.start,
            )
            again = None if disk is None else Again(disk)
            self._file = ImageFile(self.path, recording, config.record.threads, again=again)
        except BaseException:
            self._upstream.close()
            raise
        self._began = time.monotonic()
        self._n_incomplete = 0

    def run(self, stop: threading.Event) -> Manifest:
        """Record until the request is fulfilled or `stop`; return what the file says of itself.

        Raises
        ------
        StoreError
            If the disk fails; what is whole is kept, and the error says where.
        """
        try:
            self._record(stop)
        except StoreError as error:
            if self._file.manifest is not None:
                n = self._file.counters["written"]
                error.todo = f"{error.todo} What is whole, {n} images, is kept in {self.path}.".strip()
            raise
        assert self._file.manifest is not None
        return self._file.manifest

    def _record(self, stop: threading.Event) -> None:
        try:
            pump(self._selected, [self, self._file], stop.is_set)
        finally:
            self._file.conclude(self._selected.reason or "stopped", self._upstream.end)
            self._upstream.close()
            self._file.close()

    def close(self) -> None:
        """Nothing more: `run` closes the file, whatever happened."""

    def write(self, events: Sequence[Event]) -> None:
        """Count what goes into the file, and notice a new ring."""
        self._n_incomplete += sum(not event.is_complete for event in events)
        self._upstream.look()

    @property
    def progress(self) -> Progress:
        """How the recording stands; may be asked from another thread."""
        counts = self._file.counters
        asked = self._request.range
        return Progress(
            seconds=time.monotonic() - self._began,
            n_asked=len(asked) if asked is not None else self._request.images,
            n_written=counts["written"],
            n_incomplete=self._n_incomplete,
            n_lost=counts["overwritten"] + counts["not_written"] + self._upstream.n_lost,
            written_bytes=self._file.written_bytes,
            pixel_bytes=counts["written"] * self._upstream.image_bytes,
            ring_fill=self._upstream.fill(self._file.n_queued),
            free_bytes=shutil.disk_usage(self.path.parent).free,
        )


def _stream(name: str, source: RingFollower | None, disk: DiskReader) -> Stream:
    """Return what a range is taken from: shared ring, buffer on disk and what comes, or the disk alone."""
    if source is None:
        return Stream(name, [disk])

    def live() -> RingFollower:
        source.skip()
        return source

    pasts: list[Past] = [SharedPast(source.ring), disk]
    return Stream(name, pasts, live)


def _check_past(source: RingFollower, asked: PulseRange | None) -> None:
    span = source.ring.span
    if asked is not None and span is not None and asked.last < span.first:
        raise OverwrittenError(
            f"Pulses {asked} have left the ring of {source.ring.name}, which holds {span}.",
            "Ask for newer pulses, or give the ring more slots.",
        )


def check_disk(config: Config, path: Path) -> None:
    """Refuse a recording, with `StoreError`, where less than ``record.min_free_bytes`` is free."""
    existing = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    least = config.record.min_free_bytes
    if free < least:
        raise StoreError(
            f"{existing} has {free / 1e9:.2f} GB free; a recording needs {least / 1e9:.2f} GB at its start.",
            "Free some space, or lower record.min_free_bytes.",
        )
