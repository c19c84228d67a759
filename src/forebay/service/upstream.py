"""What lies before a recording: a detector's ring, over its restarts, and what was counted there."""

from __future__ import annotations

from forebay.config import DetectorConfig
from forebay.ring.shared import SharedRing
from forebay.service.follow import RingFollower
from forebay.service.tables import packet_layout
from forebay.store.manifest import Counters


class Upstream:
    """A detector's ring as long as there is one; without it the detector is what its configuration says.

    Parameters
    ----------
    source:
        Stays the caller's until `close`. None if the detector is not being received, and a recording has
        only the buffer on disk to draw from: nothing is counted then.

    Attributes
    ----------
    image_shape, dtype, n_modules, packets_per_module:
        Of the images: (row, column) and the name of the type.
    start:
        Counters of everything before the file, when this was made.
    """

    def __init__(self, detector: DetectorConfig, source: RingFollower | None) -> None:
        self._source = source
        self._port = detector.start_udp_port
        self._ring = None if source is None else source.ring
        self._grown = Counters()
        if self._ring is None:
            layout = packet_layout(detector)
            rows, columns = layout.frame_shape
            self.image_shape: tuple[int, int] = (detector.n_modules * rows, columns)
            self.dtype, self.image_bytes = layout.pixel.name, detector.n_modules * layout.frame_bytes
            self.n_modules, self.packets_per_module = detector.n_modules, layout.packets_per_frame
            self.start = Counters()
        else:
            self.image_shape, self.dtype = self._ring.image_shape, self._ring.pixel.name
            self.image_bytes = self.image_shape[0] * self.image_shape[1] * self._ring.pixel.itemsize
            self.n_modules, self.packets_per_module = self._ring.n_modules, self._ring.packets_per_module
            self.start = counters_of(self._ring, self._port)
        self._ring_start = self.start

    @property
    def n_lost(self) -> int:
        """Events that left the ring's log before they were read."""
        return 0 if self._source is None else self._source.n_lost

    def fill(self, n_queued: int) -> float:
        """Return which part of the ring waits to be written, 0 .. 1; `n_queued` images were read already."""
        if self._source is None or self._ring is None:
            return 0.0
        return min(1.0, (self._source.n_behind + n_queued) / self._ring.n_slots)

    def look(self) -> None:
        """Notice a new ring."""
        if self._source is not None and self._ring is not None and self._source.ring is not self._ring:
            self._grown = _sum(self._grown, counters_of(self._ring, self._port).since(self._ring_start))
            self._ring = self._source.ring
            self._ring_start = Counters()

    @property
    def end(self) -> Counters:
        """Counters by now: those of the start, and what was counted since, in whichever ring."""
        if self._ring is None:
            return self.start
        now = counters_of(self._ring, self._port)
        return _sum(self.start, _sum(self._grown, now.since(self._ring_start)))

    def close(self) -> None:
        """Let go of the ring; may be called twice."""
        if self._source is not None:
            self._source.close()


def counters_of(ring: SharedRing, start_udp_port: int) -> Counters:
    """Return the counters of everything before the file; ports by their number."""
    found = ring.counters()
    builder = found.pop("builder")
    receiver = {str(start_udp_port + i): found[f"module {i}"] for i in range(ring.n_modules)}
    return Counters(receiver, builder)


def _sum(one: Counters, other: Counters) -> Counters:
    def both(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
        return {name: a.get(name, 0) + b.get(name, 0) for name in a | b}

    ports = one.receiver | other.receiver
    receiver = {port: both(one.receiver.get(port, {}), other.receiver.get(port, {})) for port in ports}
    return Counters(receiver, both(one.builder, other.builder))
