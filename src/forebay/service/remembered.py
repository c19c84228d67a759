"""Which pulses of a source of this host are still remembered: in its ring, or in its buffer on disk."""

from __future__ import annotations

from forebay.config import Config
from forebay.pulse import PulseRange
from forebay.ring.disk_reader import RecordReader
from forebay.ring.shared import SharedRing
from forebay.service.tables import detector_config


def remembered(config: Config, name: str) -> PulseRange | None:
    """Return oldest to newest pulse that is remembered; None while there is none.

    Raises
    ------
    ConfigError
        If there is no such source.
    RingError
        If it is not being received, or its buffer cannot be read.
    """
    spans = [span for span in (_in_ring(config, name), _on_disk(config, name)) if span is not None]
    if not spans:
        return None
    return PulseRange(min(span.first for span in spans), max(span.last for span in spans))


def stays_for_a_while(config: Config, name: str, pulses: PulseRange) -> bool:
    """Whether all of these pulses, as far as they went by, are remembered and will not be gone in a moment.

    In the ring that is the newer half. Raises as `remembered`.
    """
    on_disk, ring = _on_disk(config, name), _in_ring(config, name)
    if on_disk is not None and pulses.first >= on_disk.first:
        return True
    return ring is None or pulses.first >= (ring.first + ring.last) // 2


def _in_ring(config: Config, name: str) -> PulseRange | None:
    detector_config(config, name)
    ring = SharedRing.attach(name, config.runtime_dir)
    try:
        return ring.span
    finally:
        ring.close()


def _on_disk(config: Config, name: str) -> PulseRange | None:
    buffer = detector_config(config, name).buffer
    return None if buffer is None else RecordReader(buffer.directory).span
