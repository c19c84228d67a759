"""A ring of images in shared memory: one process receives, others read, no pixel is sent."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay._native import Slots
from forebay.errors import AbsentError, NotYetError, OverwrittenError, RingError
from forebay.event import Event, Reference
from forebay.pulse import PulseRange
from forebay.ring import handover
from forebay.ring.arrays import SlotArrays
from forebay.ring.reader import RingReader
from forebay.ring.slots import BUILD_COUNTERS, FRAME, RECEIVE_COUNTERS
from forebay.wire.packet import PacketLayout

LOG_PER_SLOT = 4
"""Events that the log remembers for each slot: a log record is small, and outlives its pixels."""


class RingInfo(msgspec.Struct, frozen=True):
    """What a ring holds; written into its first page as JSON.

    Attributes
    ----------
    source:
        Name of the detector.
    layout:
        Name of its packet table.
    frame_shape, pixel:
        (row, column) of one module and the dtype of a pixel.
    header:
        dtype of the detector's header: (name, type) of each field.
    """

    source: str
    layout: str
    frame_shape: tuple[int, int]
    pixel: str
    header: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RingShape:
    """Sizes of a ring, fixed at its creation."""

    n_slots: int
    n_modules: int
    pulse_step: int = 1


class SharedRing:
    """A ring that this process owns (`create`) or uses (`attach`); it is a `forebay.ports.Ring`.

    The memory has no name: it goes when its last user goes, even by SIGKILL.
    """

    def __init__(self, name: str, slots: Slots, ticket: handover.Owner | handover.Borrowed, fd: int) -> None:
        described = slots.describe()
        self.name = name
        self.slots = slots
        self.info = msgspec.json.decode(described["info"], type=RingInfo)
        self.generation: int = described["generation"]
        self.n_slots: int = described["n_slots"]
        self.n_modules: int = described["n_modules"]
        self.n_log: int = described["n_log"]
        self.packets_per_module: int = described["packets_per_module"]
        self.total_bytes: int = described["total_bytes"]
        self.header = np.dtype([(n, t) for n, t in self.info.header])
        rows, columns = self.info.frame_shape
        self.image_shape = (self.n_modules * rows, columns)
        self.pixel = np.dtype(self.info.pixel)
        self._ticket = ticket
        self._fd = fd

    @classmethod
    def create(
        cls, name: str, layout: PacketLayout, shape: RingShape, runtime_dir: Path, source: str = ""
    ) -> SharedRing:
        """Make a ring, touch all its memory and offer it at ``runtime_dir/NAME.ring``.

        Raises
        ------
        RingError
            If a living process owns a ring of this name, or the memory cannot be had.
        """
        info = RingInfo(
            source=source or name,
            layout=layout.name,
            frame_shape=layout.frame_shape,
            pixel=layout.pixel.str,
            header=[(n, layout.header[n].str) for n in layout.header.names or ()],
        )
        fd = os.memfd_create(f"forebay {name}", os.MFD_CLOEXEC)
        try:
            os.fchmod(fd, 0o600)
            total = Slots.format(
                fd,
                secrets.randbits(63),
                shape.n_slots,
                shape.n_modules,
                shape.n_slots * LOG_PER_SLOT,
                layout.frame_bytes,
                layout.packets_per_frame,
                layout.header.itemsize,
                shape.pulse_step,
                msgspec.json.encode(info).decode(),
            )
            _refuse_more_than_there_is(name, total)
            slots = Slots(fd, writable=True)
            slots.touch()
            return cls(name, slots, handover.Owner(runtime_dir / f"{name}.ring", fd), fd)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, name: str, runtime_dir: Path, *, writable: bool = False) -> SharedRing:
        """Use the ring that another process of this user owns.

        Raises
        ------
        RingError
            If there is none, its owner died, or it belongs to another version.
        """
        ticket = handover.Borrowed(
            runtime_dir / f"{name}.ring", handover.WRITE if writable else handover.READ
        )
        try:
            return cls(name, Slots(ticket.fd, writable), ticket, -1)
        except (ValueError, RuntimeError) as error:
            ticket.close()
            raise RingError(f"Ring {name}: {error}.", "Restart its owner with this version.") from error

    @property
    def is_finished(self) -> bool:
        """Whether whoever releases events said that no more will come."""
        return self.slots.finished

    def finish(self, *, finished: bool = True) -> None:
        """Say that no more events will be released, or that they will be again."""
        self.slots.finish(finished)

    @property
    def owner_lives(self) -> bool:
        """Whether the process that made the ring still has it open."""
        return isinstance(self._ticket, handover.Owner) or self._ticket.owner_alive

    @property
    def n_events(self) -> int:
        """How many events were released since the ring was created."""
        return self.slots.head

    @property
    def span(self) -> PulseRange | None:
        """Oldest to newest pulse id since the counter last restarted, as far as slots reach."""
        head = self.slots.head
        if head == 0:
            return None
        oldest = newest = self.event(head - 1).pulse_id
        for number in range(head - 2, max(0, head - self.n_slots) - 1, -1):
            try:
                pulse_id = self.event(number).pulse_id
            except OverwrittenError:
                break
            if pulse_id >= oldest or self.slots.event_of(pulse_id) != number + 1:
                break
            oldest = pulse_id
        return PulseRange(oldest, newest)

    def get(self, pulse_id: int) -> Event:
        """Return the event of `pulse_id`; its pixels are copied when asked for.

        Raises
        ------
        NotYetError, AbsentError, OverwrittenError
            See `forebay.ports.Ring.get`.
        """
        number = self.slots.event_of(pulse_id)
        if number:
            event = self.event(number - 1)
            if event.pulse_id == pulse_id:
                return event
        span = self.span
        asked = f"Ring {self.name}: pulse {pulse_id} was asked for"
        if span is None or pulse_id > span.last:
            raise NotYetError(f"{asked}, the newest is {span.last if span else 'none'}.")
        if pulse_id < span.first:
            raise OverwrittenError(f"{asked}, the ring holds {span}.")
        raise AbsentError(f"{asked}, nothing came for it; the ring holds {span}.")

    def event(self, number: int) -> Event:
        """Return event `number` of the log; `OverwrittenError` if it has left it, or is yet to come."""
        head = np.empty(3, np.uint64)
        owners = np.empty(self.n_modules, np.uint64)
        missing = np.empty(self.n_modules, np.uint32)
        if not self.slots.read_log(number, head, owners, missing):
            raise OverwrittenError(f"Ring {self.name}: event {number} has left the log.")
        owners.flags.writeable = missing.flags.writeable = False
        return Event(
            source=self.info.source,
            pulse_id=int(head[0]),
            time_ns=int(head[1]),
            arrays=SlotArrays(self, int(head[2]), int(head[0]), owners),
            missing_packets=missing,
            packets_per_module=self.packets_per_module,
            reference=Reference(self.name, self.generation, number),
        )

    def resolve(self, reference: Reference) -> Event:
        """Return the event that a reference of this very ring names.

        Raises
        ------
        OverwrittenError
            If the ring was made anew since, or the event has left it.
        """
        if reference.generation != self.generation:
            raise OverwrittenError(f"Ring {self.name} was made anew since event {reference.number}.")
        return self.event(reference.number)

    def reader(self, start: str | int = "newest") -> RingReader:
        """Return a source with a position of its own.

        Parameters
        ----------
        start:
            ``"newest"``: only what comes from now on. ``"oldest"``: everything whose pixels may still be
            there. A number: that event of the log and all after it.
        """
        head = self.slots.head
        match start:
            case "newest":
                return RingReader(self, head)
            case "oldest":
                return RingReader(self, max(0, head - self.n_slots))
            case int():
                return RingReader(self, start)
            case _:
                raise RingError(f"A reader starts at 'newest', 'oldest' or a number, not {start!r}.")

    def write(self, events: Sequence[Event]) -> None:
        """Put whole images into the ring and release them; only where no receiver writes.

        Each event has ``data`` of `image_shape`, and may have ``header`` (module,).
        """
        frame = np.empty(1, FRAME)
        for event in events:
            data = np.ascontiguousarray(event.arrays["data"], self.pixel).reshape(self.n_modules, -1)
            headers = event.arrays.get("header", np.zeros(self.n_modules, self.header))
            owners = np.zeros(self.n_modules, np.uint64)
            for i in range(self.n_modules):
                self.slots.write_frame(
                    i,
                    event.pulse_id,
                    event.time_ns,
                    headers[i : i + 1].view(np.uint8),
                    data[i].view(np.uint8),
                    frame.view(np.uint8),
                )
                owners[i] = frame["owner"][0]
            missing = np.ascontiguousarray(event.missing_packets, np.uint32)
            self.slots.release(event.pulse_id, event.time_ns, int(frame["slot"][0]), owners, missing)
        self.slots.wake()

    def resting_frames(self) -> NDArray[np.void]:
        """Return the ``FRAME`` records of everything that lies at rest in the ring."""
        return self.slots.resting().view(FRAME)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the counters of each port (``module 0`` ...) and of the ``builder``."""
        result = {}
        for block in range(self.n_modules + 1):
            is_builder = block == self.n_modules
            names = BUILD_COUNTERS if is_builder else RECEIVE_COUNTERS
            values = np.zeros(len(names), np.uint64)
            self.slots.counters(block, values)
            key = "builder" if is_builder else f"module {block}"
            result[key] = dict(zip(names, values.tolist(), strict=True))
        return result

    def close(self) -> None:
        """Let go; the memory lives on while others use it. May be called twice."""
        self._ticket.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _refuse_more_than_there_is(name: str, total_bytes: int) -> None:
    """Touching more than the machine has would wake the out-of-memory killer."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    if total_bytes > available * 0.9:
        raise RingError(
            f"Ring {name} needs {total_bytes / 1e9:.1f} GB, {available / 1e9:.1f} GB are available.",
            "Configure fewer ring.slots.",
        )


def wait_attach(
    name: str,
    runtime_dir: Path,
    timeout: float,
    *,
    writable: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> SharedRing:
    """Attach as soon as the ring is there; `RingError` if it is not within `timeout` s or until `stop`."""
    end = time.monotonic() + timeout
    while True:
        try:
            return SharedRing.attach(name, runtime_dir, writable=writable)
        except RingError:
            if time.monotonic() >= end or stop():
                raise
            time.sleep(0.02)
