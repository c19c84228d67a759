"""Images into an HDF5 file: compressed by several threads, written in order by one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.errors import OverwrittenError, StoreError
from forebay.event import Array, Chunk, Event, chunk_of, lend
from forebay.store import manifest as m
from forebay.store.part import Ending, Part
from forebay.store.paths import is_disk_full
from forebay.wire.compress import bound, compress_into

_DTYPES = ("uint8", "uint16", "uint32")


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a thread made of an event: its chunk lies in the event's buffer, or where the event has it."""

    chunk: NDArray[np.uint8]
    checksum: int
    header: Array | None


class _Buffer:
    """Memory for one chunk, made when the first image needs it: one that comes compressed does not."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._memory: NDArray[np.uint8] | None = None

    @property
    def memory(self) -> NDArray[np.uint8]:
        if self._memory is None:
            self._memory = np.empty(self._n_bytes, np.uint8)
        return self._memory


_Item = tuple[Event, _Buffer, "Future[_Stored | None]"]


class ImageFile:
    """A sink for the images of one detector; the file appears under its name at `close`, whole.

    Images that come compressed (see `forebay.event.Chunked`) go into the file as they are.

    `write` is for one thread and waits while the disk is slower than the images. Images that leave the
    ring before they were compressed, and cannot be had again, are counted as overwritten and left out.

    Parameters
    ----------
    path:
        The final name; nothing may exist there.
    recording:
        What the file is to hold.
    threads:
        Threads that compress.
    n_buffers:
        Images that may be under way between `write` and the disk; four for each thread and two by default.
    again:
        Where an image that left the ring may be had once more, whole: called by any thread, None if nowhere.

    Raises
    ------
    StoreError
        If the file cannot be written, before any work starts.
    """

    def __init__(
        self,
        path: Path,
        recording: m.Recording,
        threads: int = 2,
        n_buffers: int | None = None,
        again: Callable[[Event], Event | None] | None = None,
    ) -> None:
        if recording.dtype not in _DTYPES:
            raise StoreError(f"Images of {recording.dtype} cannot be written; {', '.join(_DTYPES)} can.")
        dtype = np.dtype(recording.dtype)
        n_elements = recording.shape[0] * recording.shape[1]
        if not n_elements:
            raise StoreError(f"Images of shape {recording.shape} have no pixels.")
        self.path = path
        self._again = again
        self._dtype, self._shape, self._is_compressed = (
            dtype,
            recording.shape,
            recording.compression != "none",
        )
        self._has_header = bool(recording.header)
        self._n_modules = recording.n_modules
        buffer_bytes = (
            bound(n_elements, dtype.itemsize) if self._is_compressed else n_elements * dtype.itemsize
        )
        if not recording.start_time:
            recording = msgspec.structs.replace(recording, start_time=m.now())
        self.n_buffers = n_buffers or 4 * threads + 2
        self._free: queue.SimpleQueue[_Buffer] = queue.SimpleQueue()
        for _ in range(self.n_buffers):
            self._free.put(_Buffer(buffer_bytes))
        self._part = Part(path, recording)
        self._ordered: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._received = 0
        self._written_bytes = 0
        self._seen: tuple[int, int] | None = None
        self._overwritten: list[int] = []
        self._not_written: list[int] = []
        self._failure: StoreError | None = None
        self._was_raised = False
        self._is_closed = False
        self._reason, self._failed = "stopped", ""
        self._counters = m.Counters()
        self.manifest: m.Manifest | None = None
        self._pool = ThreadPoolExecutor(threads, "compress")
        self._writer = threading.Thread(target=self._write_in_order, name="write", daemon=True)
        self._writer.start()

    def write(self, events: Sequence[Event]) -> None:
        """Take these events, oldest first.

        Raises
        ------
        StoreError
            If an earlier image could not be written, or the file is closed; the events of this call
            that were not taken are counted as not written.
        """
        for i, event in enumerate(events):
            if self._failure is not None or self._is_closed:
                self._received += len(events) - i
                self._not_written += [e.pulse_id for e in events[i:]]
                self._was_raised = True
                raise self._failure or StoreError(f"The file {self.path} is closed.")
            self._received += 1
            first, last = self._seen or (event.pulse_id, event.pulse_id)
            self._seen = min(first, event.pulse_id), max(last, event.pulse_id)
            buffer = self._free.get()  # taken here, in order, so that the oldest image always has one
            self._ordered.put((event, buffer, self._pool.submit(self._store, event, buffer)))

    def conclude(self, reason: str, counters: m.Counters | None = None) -> None:
        """Say why the recording ends and what was counted before it; `close` writes it down.

        Parameters
        ----------
        reason:
            E.g. ``last pulse``, ``count reached``, ``deadline`` or ``stopped``.
        counters:
            Receiver and builder at the end; the recorder's own are added.
        """
        self._reason = reason
        self._counters = counters or m.Counters()

    def close(self) -> None:
        """Write all that was taken and put the file in its place; may be called twice.

        Raises
        ------
        StoreError
            If an image could not be written and `write` has not said so, or if the file could not be
            closed: the error then says how to recover it.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._ordered.put(None)
        self._writer.join()
        self._pool.shutdown()
        counters = msgspec.structs.replace(self._counters, recorder=self.counters)
        ending = Ending(
            self._failed or self._reason, counters, self._seen, self._overwritten, self._not_written
        )
        self.manifest = self._part.finish(ending)
        if self._failure is not None and not self._was_raised:
            raise self._failure

    @property
    def counters(self) -> dict[str, int]:
        """``received`` = ``written`` + ``not_written`` + ``overwritten``, once nothing is under way."""
        return {
            "received": self._received,
            "written": self._part.n,
            "not_written": len(self._not_written),
            "overwritten": len(self._overwritten),
        }

    @property
    def n_queued(self) -> int:
        """Images under way, at most `n_buffers`."""
        return self.n_buffers - self._free.qsize()

    @property
    def written_bytes(self) -> int:
        """Bytes of the images in the file, as stored."""
        return self._written_bytes

    def _store(self, event: Event, free: _Buffer) -> _Stored | None:
        """Put the chunk of an event into a buffer; None if it left its ring and cannot be had again."""
        try:
            return self._store_this(event, free)
        except OverwrittenError:
            found = None if self._again is None else self._again(event)
            return None if found is None else self._store_this(found, free)

    def _store_this(self, event: Event, free: _Buffer) -> _Stored:
        """Put the chunk of an event into a buffer unless it has one; may raise `OverwrittenError`."""
        stored = chunk_of(event, "data") if self._is_compressed else None
        if stored is not None:
            self._check(event, stored)
            header = np.array(event.arrays["header"]) if self._has_header else None
            return _Stored(stored.data, xxhash.xxh3_64_intdigest(stored.data.data), header)
        buffer = free.memory
        with lend(event, "data") as pixels:
            self._check(event, pixels)
            header = np.array(event.arrays["header"]) if self._has_header else None
            size = pixels.nbytes
            if self._is_compressed:
                size = compress_into(pixels, buffer)
            else:
                np.copyto(buffer.view(self._dtype).reshape(self._shape), pixels)
        return _Stored(buffer[:size], xxhash.xxh3_64_intdigest(buffer[:size].data), header)

    def _check(self, event: Event, pixels: Array | Chunk) -> None:
        if pixels.shape != self._shape or pixels.dtype != self._dtype:
            raise StoreError(
                f"Pulse {event.pulse_id} of {event.source} is {pixels.shape} of {pixels.dtype}; "
                f"{self.path} holds {self._shape} of {self._dtype}.",
                "Correct the detector's type, bit depth or number of modules.",
            )
        if event.missing_packets.shape != (self._n_modules,):
            raise StoreError(
                f"Pulse {event.pulse_id} of {event.source} has {event.missing_packets.shape} modules; "
                f"{self.path} holds {self._n_modules}.",
                "Correct the number of modules.",
            )

    def _write_in_order(self) -> None:
        while (item := self._ordered.get()) is not None:
            event, buffer, future = item
            try:
                stored = future.result()
                if stored is None:
                    self._overwritten.append(event.pulse_id)
                elif self._failure is not None:
                    self._not_written.append(event.pulse_id)
                else:
                    self._append(event, stored)
            except Exception as error:  # noqa: BLE001 - write and close raise it
                self._not_written.append(event.pulse_id)
                self._fail(error)
            self._free.put(buffer)

    def _append(self, event: Event, stored: _Stored) -> None:
        self._part.append(
            event.pulse_id, event.time_ns, event.missing_packets, stored.header, stored.chunk, stored.checksum
        )
        self._written_bytes += stored.chunk.nbytes

    def _fail(self, error: Exception) -> None:
        if self._failure is not None:
            return
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        self._failed = "disk full" if is_disk_full(cause) else f"failed: {error}"
        if not isinstance(error, StoreError):
            failure = StoreError(f"Cannot write to {self.path}: {type(error).__name__}: {error}.")
            failure.__cause__ = error
            error = failure
        self._failure = error
