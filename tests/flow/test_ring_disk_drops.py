"""What a ring on disk drops, and when: by the age of the newest record, and nothing that is still open."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from forebay.pulse import PulseRange
from forebay.ring import disk_writer, segment_files
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter
from forebay.ring.segment_files import SegmentWriter

pytestmark = pytest.mark.flow

SECOND = 10**9


def made(first: int, last: int) -> list[tuple[int, int, tuple[bytes, ...]]]:
    return [(p, p * 10, (bytes(50),)) for p in range(first, last + 1)]


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    return tmp_path / "ring"


def test_a_segment_is_as_old_as_its_newest_record(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000 * SECOND]
    monkeypatch.setattr(disk_writer.time, "time_ns", lambda: now[0])
    writer = RecordWriter(ring, DiskLimits(10**7, max_age_s=100_000.0, sync_s=600.0))
    writer.write(made(0, 4))
    now[0] += 60_000 * SECOND
    writer.write(made(5, 9))
    now[0] += 60_000 * SECOND  # the first ones are too old, the last ones are not
    writer.drop_old()
    assert RecordReader(ring).span == PulseRange(0, 9)
    now[0] += 60_000 * SECOND
    writer.drop_old()
    assert RecordReader(ring).span is None
    assert writer.counters.expired == 10
    writer.close()


def test_a_segment_that_is_still_small_ends_so_that_its_age_has_an_effect(
    ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(disk_writer.time, "monotonic", lambda: now[0])
    limits = DiskLimits(10**7, max_age_s=1600.0, sync_s=600.0)
    writer = RecordWriter(ring, limits)
    for i in range(4):
        writer.write(made(i, i))
        now[0] += 0.6 * limits.segment_s
    writer.close()
    assert segment_files.numbers(ring, "data") == [0, 2]


def test_a_full_disk_drops_no_segment_that_is_still_open(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That would free nothing: the space of a file comes back when the last one who has it open closes it."""
    refused = threading.Event()
    write, seal, remove = os.pwritev, SegmentWriter.seal, segment_files.remove
    sealed: set[int] = set()
    dropped_while_open: list[int] = []

    def write_or_refuse(file: int, buffers: Sequence[Any], offset: int) -> int:
        if not refused.is_set() and sum(p.stat().st_size for p in ring.iterdir()) > 6000:
            refused.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, buffers, offset)

    def seal_late(segment: SegmentWriter) -> None:
        assert refused.wait(60)
        seal(segment)
        sealed.add(segment.number)

    def remove_and_note(directory: Path, number: int) -> None:
        if number not in sealed:
            dropped_while_open.append(number)
        remove(directory, number)

    monkeypatch.setattr(segment_files.os, "pwritev", write_or_refuse)
    monkeypatch.setattr(SegmentWriter, "seal", seal_late)
    monkeypatch.setattr(segment_files, "remove", remove_and_note)
    writer = RecordWriter(ring, DiskLimits(10**7, segment_bytes=1000))
    for i in range(200):
        writer.write(made(i, i))
    counters = writer.counters
    writer.close()
    assert (counters.disk_full, counters.not_written) == (1, 0)
    assert counters.expired > 0
    assert dropped_while_open == []


def test_a_segment_of_which_a_loss_of_power_left_nothing_is_removed(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(10**7, segment_bytes=300))
    for i in range(9):
        writer.write(made(i, i))
    writer.close()
    first, lost, *rest = segment_files.numbers(ring, "data")
    for kind in ("data", "index"):
        os.truncate(segment_files.path(ring, lost, kind), 0)
    RecordWriter(ring, DiskLimits(10**7, segment_bytes=300)).close()
    assert segment_files.numbers(ring, "data")[: 1 + len(rest)] == [first, *rest]
    assert not segment_files.path(ring, lost, "index").exists()
    assert len(list(RecordReader(ring).read(PulseRange(0, 8)))) == 9 - (rest[0] - lost)


def test_a_reader_remembers_the_epoch_of_what_has_all_expired(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(10**7, max_age_s=100.0, sync_s=600.0))
    writer.write([*made(1000, 1004), (3, 10**12, (b"restarted",))])
    reader = RecordReader(ring)
    assert reader.epoch == 1
    for kept in writer._kept:
        kept.written_ns = 0
    writer.drop_old()
    assert (reader.span, reader.epoch) == (None, 1)
    writer.close()
