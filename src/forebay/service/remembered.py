"""Which pulses of a source of this host are still remembered: in its ring, or in its buffer on disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from forebay.config import Config
from forebay.errors import RingError
from forebay.pulse import PulseRange
from forebay.ring.disk_reader import RecordReader
from forebay.ring.shared import SharedRing
from forebay.service.bsread_disk import bsread_on_disk
from forebay.service.tables import detector_config

_Ring = TypeVar("_Ring")


def remembered(config: Config, name: str, asked: PulseRange | None = None) -> PulseRange | None:
    """Return oldest to newest pulse that is remembered; None while there is none.

    Parameters
    ----------
    asked:
        What is wanted of it: if that lies wholly in the buffer on disk, the source need not be received.

    Raises
    ------
    ConfigError
        If there is no such source.
    RingError
        If it is not being received, or its buffer cannot be read.
    """
    on_disk = _on_disk(config, name)
    in_ring = unless_on_disk(lambda: _in_ring(config, name), on_disk, asked)
    spans = [span for span in (in_ring, on_disk) if span is not None]
    if not spans:
        return None
    return PulseRange(min(span.first for span in spans), max(span.last for span in spans))


def stays_for_a_while(config: Config, name: str, pulses: PulseRange) -> bool:
    """Whether all of these pulses, as far as they went by, are remembered and will not be gone in a moment.

    In the ring that is the newer half. Raises as `remembered`.
    """
    if name in config.bsread:
        held = bsread_on_disk(config, name)
        return held is not None and pulses.first >= held.first
    on_disk = _on_disk(config, name)
    ring = unless_on_disk(lambda: _in_ring(config, name), on_disk, pulses)
    if on_disk is not None and pulses.first >= on_disk.first:
        return True
    return ring is None or pulses.first >= (ring.first + ring.last) // 2


def unless_on_disk(
    attach: Callable[[], _Ring], on_disk: PulseRange | None, asked: PulseRange | None
) -> _Ring | None:
    """Return what `attach` gives; None if there is no ring and the pulses asked for are on disk.

    They are if the buffer on disk has gone past the last of them: older ones have expired, and none will
    come any more.

    Parameters
    ----------
    attach:
        Raises `RingError` if the source is not being received.
    on_disk:
        What the buffer on disk holds.

    Raises
    ------
    RingError
        If there is no ring, and it is needed.
    """
    try:
        return attach()
    except RingError as error:
        if on_disk is None:
            raise
        if asked is not None and asked.last <= on_disk.last:
            return None
        raise RingError(f"{error.what} The buffer on disk holds {on_disk}.", error.todo) from error


def _in_ring(config: Config, name: str) -> PulseRange | None:
    with closing(SharedRing.attach(name, config.runtime_dir)) as ring:
        return ring.span


def _on_disk(config: Config, name: str) -> PulseRange | None:
    buffer = detector_config(config, name).buffer
    return None if buffer is None else RecordReader(buffer.directory).span
