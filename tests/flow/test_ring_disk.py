"""The ring on disk: writer and readers in one process, its bounds, its restarts and its damages."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import AbsentError, NotYetError, OverwrittenError, RingError, WireError
from forebay.event import Event
from forebay.ports import Ring, Source
from forebay.pulse import PulseRange
from forebay.ring import disk_follower, disk_reader, disk_writer, segment_files
from forebay.ring.disk import DiskReader, DiskRing
from forebay.ring.disk_follower import Follower
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter
from forebay.ring.epoch import EpochCounter
from forebay.ring.segment import ENTRY, HEADER_BYTES, Block, Record
from forebay.ring.segment_files import Segment, SegmentWriter
from forebay.ring.segment_recover import recover

pytestmark = pytest.mark.flow

LIMITS = DiskLimits(10**7, segment_bytes=1000)
EVERYTHING = PulseRange(0, 2**62)


def parts_of(pulse_id: int, n_bytes: int = 50) -> tuple[bytes, ...]:
    return (b"%d" % pulse_id, bytes([pulse_id % 256]) * n_bytes)


def plain(records: Any) -> list[tuple[int, int, tuple[bytes, ...]]]:
    return [(r.pulse_id, r.time_ns, tuple(bytes(p) for p in r.parts)) for r in records]


def made(pulses: Any, n_bytes: int = 50) -> list[tuple[int, int, tuple[bytes, ...]]]:
    return [(p, p * 10, parts_of(p, n_bytes)) for p in pulses]


def fill(directory: Path, pulses: Any, limits: DiskLimits = LIMITS, n_bytes: int = 50) -> None:
    """Write one record at a time, so that a segment ends as soon as it is full."""
    writer = RecordWriter(directory, limits)
    for record in made(pulses, n_bytes):
        writer.write([record])
    writer.close()


def drain(follower: Follower) -> list[Record]:
    found: list[Record] = []
    while records := follower.read(0):
        found += records
    return found


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    return tmp_path / "ring"


def test_what_is_written_is_read(ring: Path) -> None:
    writer = RecordWriter(ring, LIMITS)
    reader = RecordReader(ring)
    assert reader.span is None
    assert reader.time_span is None
    writer.write(made(range(100, 200)))
    assert reader.span == PulseRange(100, 199)
    assert reader.time_span == (1000, 1990)
    assert plain(reader.read(EVERYTHING)) == made(range(100, 200))
    assert plain(reader.read(PulseRange(120, 160, 7))) == made([126, 133, 140, 147, 154])
    assert plain(reader.read_time(1234, 1300)) == made(range(124, 131))
    assert plain([reader.get(150)]) == made([150])
    assert [r.number for r in reader.read(EVERYTHING)] == list(range(100))
    writer.close()
    assert plain(reader.read(EVERYTHING)) == made(range(100, 200))
    assert len(segment_files.numbers(ring)) > 1


def test_get_says_the_span(ring: Path) -> None:
    fill(ring, range(10, 60, 2), DiskLimits(4000, segment_bytes=1000))
    reader = RecordReader(ring)
    span = reader.span
    assert span is not None
    assert span.first > 10
    with pytest.raises(OverwrittenError, match=f"{span.first}..58"):
        reader.get(10)
    with pytest.raises(AbsentError, match=f"{span.first}..58"):
        reader.get(57)
    with pytest.raises(NotYetError, match=f"{span.first}..58"):
        reader.get(59)
    with pytest.raises(OverwrittenError, match=f"{span.first}..58"):
        reader.follow(10)


def test_single_pulse_of_a_sealed_segment_is_found_without_its_whole_index(
    ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ring, range(0, 100, 2))
    reader = RecordReader(ring)
    monkeypatch.setattr(Segment, "load", lambda _: pytest.fail("the whole index was read"))
    assert plain(map(reader.get, range(0, 100, 2))) == made(range(0, 100, 2))


def test_empty_ring_has_nothing_yet(ring: Path) -> None:
    RecordWriter(ring, LIMITS).close()
    reader = RecordReader(ring)
    with pytest.raises(NotYetError, match="empty"):
        reader.get(0)
    assert list(reader.read(EVERYTHING)) == []
    assert reader.epochs == {}


def test_no_ring_is_an_error(ring: Path) -> None:
    with pytest.raises(RingError, match="no disk ring"):
        RecordReader(ring)


def test_made_for_this_user_only(ring: Path) -> None:
    fill(ring, range(3))
    assert ring.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in ring.iterdir()} == {0o600}


def test_second_writer_is_told_who_the_first_is(ring: Path) -> None:
    first = RecordWriter(ring, LIMITS)
    with pytest.raises(RingError, match=f"process {os.getpid()}"):
        RecordWriter(ring, LIMITS)
    first.close()
    RecordWriter(ring, LIMITS).close()


def test_directory_with_other_files_is_left_alone(ring: Path) -> None:
    ring.mkdir()
    (ring / "thesis.tex").write_text("")
    with pytest.raises(RingError, match=r"thesis\.tex"):
        RecordWriter(ring, LIMITS)
    assert [p.name for p in ring.iterdir()] == ["thesis.tex"]


def test_links_are_not_followed(ring: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    ring.mkdir()
    (ring / "00000000000000000000.data").symlink_to(victim)
    with pytest.raises(RingError, match="cannot be continued"):
        RecordWriter(ring, LIMITS)
    (ring / "lock").unlink()
    (ring / "lock").symlink_to(victim)
    with pytest.raises(RingError, match="cannot be opened"):
        RecordWriter(ring, LIMITS)
    assert victim.read_text() == "precious"


def test_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "ring").write_text("")
    with pytest.raises(RingError, match="cannot be opened"):
        RecordWriter(tmp_path / "ring", LIMITS)


def test_restart_appends_and_goes_on_counting(ring: Path) -> None:
    fill(ring, range(20))
    fill(ring, range(20, 30))
    reader = RecordReader(ring)
    assert plain(reader.read(EVERYTHING)) == made(range(30))
    assert [r.number for r in drain(reader.follow())] == list(range(30))
    assert list(reader.epochs) == [0]


def test_restarted_counter_is_a_new_epoch(ring: Path) -> None:
    fill(ring, range(1000, 1030))
    writer = RecordWriter(ring, LIMITS)
    again = [(p, 10**6 + p, (b"again",)) for p in range(5)]
    writer.write(again)
    writer.close()
    reader = RecordReader(ring)
    assert reader.span == PulseRange(0, 4)
    assert reader.epochs == {0: PulseRange(1000, 1029), 1: PulseRange(0, 4)}
    with pytest.raises(NotYetError):
        reader.get(1000)
    assert plain(reader.read(EVERYTHING)) == again
    assert plain(reader.read(EVERYTHING, epoch=0)) == made(range(1000, 1030))
    assert plain(drain(reader.follow())) == made(range(1000, 1030)) + again


def test_late_records_across_segments_are_read_in_order_and_repeats_once(ring: Path) -> None:
    order = [*range(40), 35, 31, *range(40, 60), 38, 58, *range(60, 80)]
    writer = RecordWriter(ring, LIMITS)
    for i, p in enumerate(order):
        writer.write([(p, p * 10, (b"%d" % i,))])
    reader = RecordReader(ring)
    assert list(reader.epochs) == [0]
    newest = {p: b"%d" % i for i, p in enumerate(order)}
    assert [(r.pulse_id, bytes(r.parts[0])) for r in reader.read(EVERYTHING)] == sorted(newest.items())
    assert all(bytes(reader.get(p).parts[0]) == text for p, text in newest.items())
    assert [r.pulse_id for r in drain(reader.follow())] == order
    writer.close()


def test_repeat_that_reaches_back_over_several_segments(ring: Path) -> None:
    for p in (0, 1, 2, 0):
        fill(ring, [p])
    reader = RecordReader(ring)
    assert [(r.pulse_id, r.number) for r in reader.read(EVERYTHING)] == [(0, 3), (1, 1), (2, 2)]
    assert reader.get(0).number == 3


def test_bounded_by_bytes_oldest_segments_first(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(5000, segment_bytes=1000))
    for record in made(range(500)):
        writer.write([record])
        assert writer.n_bytes <= 5000
    on_disk = sum(p.stat().st_size for p in ring.iterdir() if p.name != "lock")
    assert on_disk == writer.n_bytes > 3500
    counters = writer.counters
    writer.close()
    got = plain(RecordReader(ring).read(EVERYTHING))
    assert got == made(range(500))[-len(got) :]
    assert counters.written == 500 == counters.expired + len(got)
    writer = RecordWriter(ring, DiskLimits(2000, segment_bytes=1000))
    writer.write(made([500]))
    assert writer.n_bytes <= 2000
    writer.close()


def test_dropped_by_age_also_the_last_and_numbers_go_on(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000_000_000]
    monkeypatch.setattr(disk_writer.time, "time_ns", lambda: now[0])
    writer = RecordWriter(ring, DiskLimits(10**6, max_age_s=100.0, segment_bytes=1000, sync_s=600.0))
    writer.write(made(range(5)))
    follower = RecordReader(ring).follow()
    assert len(drain(follower)) == 5
    now[0] += 60_000_000_000
    writer.write(made(range(5, 40)))
    writer.drop_old()
    assert writer.counters.expired == 0
    now[0] += 60_000_000_000
    writer.drop_old()
    assert RecordReader(ring).span == PulseRange(5, 39)
    now[0] += 60_000_000_000
    writer.drop_old()
    assert RecordReader(ring).span is None
    assert writer.counters.expired == 40
    writer.close()
    fill(ring, range(40, 42))
    assert [r.number for r in drain(follower)] == [40, 41]
    assert follower.counters.lost == 35
    assert follower.counters.lost_pulses == [PulseRange(5, 39)]


def test_follower_in_a_dropped_segment_reads_it_to_its_end_and_counts_the_rest(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(5000, segment_bytes=1000))
    writer.write(made(range(4)))
    follower = RecordReader(ring).follow()
    first = follower.read(0)
    assert first is not None
    for record in made(range(4, 300)):
        writer.write([record])
    writer.close()
    got = plain([*first, *drain(follower)])
    pulses = [p for p, _, _ in got]
    assert got == made(pulses)
    assert pulses[:5] == [0, 1, 2, 3, 4]
    (lost,) = follower.counters.lost_pulses
    assert sorted([*pulses, *lost]) == list(range(300))
    assert follower.counters.lost == len(lost)
    assert follower.counters.damaged == 0


def test_follower_misses_nothing_when_the_segment_ends_while_it_looks(
    ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More comes into the segment that was just read to its end, then the next one, then the listing."""
    writer = RecordWriter(ring, LIMITS)
    follower = RecordReader(ring).follow()
    writer.write(made(range(3)))
    assert len(drain(follower)) == 3
    coming = made(range(3, 12))

    def numbers(directory: Path) -> list[int]:
        while coming:
            writer.write([coming.pop(0)])
        return segment_files.numbers(directory)

    monkeypatch.setattr(disk_follower, "numbers", numbers)
    assert [r.pulse_id for r in drain(follower)] == list(range(3, 12))
    assert follower.counters.lost == 0
    writer.close()


def test_range_read_of_what_is_dropped_meanwhile(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_reader, "_OPEN_SEGMENTS", 4)
    writer = RecordWriter(ring, DiskLimits(20_000, segment_bytes=1000))
    for record in made(range(80)):
        writer.write([record])
    reader = RecordReader(ring)
    records = reader.read(EVERYTHING)
    got = [next(records)]
    for record in made(range(80, 400)):
        writer.write([record])
    got += records
    pulses = [r.pulse_id for r in got]
    assert plain(got) == made(pulses)
    lost = [p for stretch in reader.counters.lost_pulses for p in stretch]
    assert reader.counters.lost == len(lost) > 10
    assert sorted([*lost, *pulses])[:80] == list(range(80))
    assert reader.counters.damaged == 0
    writer.close()


def test_where_a_follower_starts(ring: Path) -> None:
    writer = RecordWriter(ring, LIMITS)
    reader = RecordReader(ring)
    early = reader.follow()
    future_of_empty = reader.follow(25)
    assert early.read(0) == ()
    writer.write(made(range(0, 20, 2)))
    assert plain(drain(reader.follow("newest"))) == made([18])
    assert plain(drain(reader.follow(7))) == made(range(8, 20, 2))
    future = reader.follow(33)
    assert future.read(0) == ()
    writer.write(made(range(20, 40)))
    assert plain(drain(future)) == made(range(33, 40))
    assert plain(drain(future_of_empty)) == made(range(25, 40))
    assert plain(drain(early)) == made([*range(0, 20, 2), *range(20, 40)])
    assert early.counters.lost == future.counters.lost == 0
    writer.close()


def test_waiting_follower_gets_what_comes_and_is_woken_by_close(ring: Path) -> None:
    writer = RecordWriter(ring, LIMITS)
    follower = RecordReader(ring).follow()
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.extend([follower.read(60), follower.read(60)]))
    thread.start()
    writer.write(made([1]))
    while not result and thread.is_alive() and follower._last_pulse != 1:
        thread.join(0.01)
    follower.close()
    follower.close()
    thread.join(30)
    assert plain(result[0]) == made([1])
    assert result[1] is None
    writer.close()


def test_records_that_cannot_be_taken_are_counted(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(5000, segment_bytes=1000))
    writer.write(
        [(-1, 0, (b"",)), (2**63, 0, (b"",)), (1, 2**63, (b"",)), (1, 0, (bytes(2501),)), *made([1])]
    )
    assert (writer.counters.written, writer.counters.refused) == (1, 4)
    writer.write([])
    writer.close()
    writer.close()
    with pytest.raises(RingError, match="closed"):
        writer.write(made([2]))


def test_record_larger_than_a_segment(ring: Path) -> None:
    fill(ring, range(8), DiskLimits(20_000, segment_bytes=1000), n_bytes=5000)
    got = plain(RecordReader(ring).read(EVERYTHING))
    assert got == made(range(8), 5000)[-len(got) :]
    assert len(got) == 3


def test_sync_makes_everything_durable(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(10**6, segment_bytes=1000, sync_s=600.0))
    for record in made(range(50)):
        writer.write([record])
    writer.sync()
    assert writer.counters.synced == 50
    writer.sync()
    writer.close()


def test_sync_makes_the_names_of_new_files_durable(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    writer = RecordWriter(ring, DiskLimits(10**6, sync_s=600.0))
    for pulse_id in range(3):
        writer.write(made([pulse_id]))
        writer.sync()
    writer.close()
    assert synced == [str(ring)]


def test_failed_sync_is_reported(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    writer = RecordWriter(ring, DiskLimits(10**6, segment_bytes=1000, sync_s=600.0))
    writer.write(made(range(3)))
    monkeypatch.setattr(segment_files.os, "fdatasync", refuse)
    with pytest.raises(RingError, match="Input/output error"):
        writer.sync()
    assert writer.counters.sync_errors >= 1
    monkeypatch.undo()
    writer.close()
    assert plain(RecordReader(ring).read(EVERYTHING)) == made(range(3))


def test_writing_waits_for_a_slow_disk_and_counts_it(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(10**6, segment_bytes=1000, sync_bytes=1, unsynced_bytes=1))
    for record in made(range(20)):
        writer.write([record])
    assert writer.counters.stalls == 20
    assert writer.counters.stall_ns > 0
    writer.close()
    assert writer.counters.synced == 20


def full_disk(monkeypatch: pytest.MonkeyPatch, ring: Path, room: list[int]) -> None:
    """Let the system refuse to write, after half of it, once the ring's files take more than `room`."""
    write = os.pwritev

    def pwritev(file: int, buffers: Sequence[Any], offset: int) -> int:
        n_bytes = sum(memoryview(b).nbytes for b in buffers)
        taken = sum(p.stat().st_size for p in ring.iterdir())
        if taken + n_bytes > room[0]:
            os.pwrite(file, b"".join(buffers)[: n_bytes // 2], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, buffers, offset)

    monkeypatch.setattr(segment_files.os, "pwritev", pwritev)


def test_full_disk_drops_the_oldest_and_goes_on(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, ring, [6000])
    writer = RecordWriter(ring, LIMITS)
    for record in made(range(200)):
        writer.write([record])
    counters = writer.counters
    writer.close()
    assert counters.disk_full > 0
    assert "No space left" in counters.last_error
    assert counters.not_written == 0
    reader = RecordReader(ring)
    got = plain(reader.read(EVERYTHING))
    assert got == made(range(200))[-len(got) :]
    assert len(got) > 10
    assert counters.written == 200 == counters.expired + len(got)
    assert reader.counters.damaged == 0


def test_full_disk_without_anything_to_drop_is_counted(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = [600]
    full_disk(monkeypatch, ring, room)
    writer = RecordWriter(ring, LIMITS)
    for record in made(range(10)):
        writer.write([record])
    assert writer.counters.not_written == 10 - writer.counters.written > 0
    room[0] = 10**6
    writer.write(made(range(10, 15)))
    writer.close()
    n = writer.counters.written - 5
    assert plain(RecordReader(ring).read(EVERYTHING)) == made([*range(n), *range(10, 15)])


def test_failed_append_leaves_the_files_as_they_were(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring.mkdir()
    writer = SegmentWriter(ring, 0, 0)
    block = Block(0)
    for record in made(range(3)):
        block.add(*record)
    writer.append(block)
    before = [p.read_bytes() for p in sorted(ring.iterdir())]
    for room in range(sum(map(len, before)), sum(map(len, before)) + block.n_bytes + 100, 8):
        full_disk(monkeypatch, ring, [room])
        with pytest.raises(OSError, match="No space"):
            writer.append(block)
        monkeypatch.undo()
        assert [p.read_bytes() for p in sorted(ring.iterdir())] == before
    writer.close()


def test_other_refusals_of_the_system_are_errors(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    writer = RecordWriter(ring, LIMITS)
    monkeypatch.setattr(segment_files.os, "pwritev", refuse)
    with pytest.raises(RingError, match="Input/output error"):
        writer.write(made([1]))
    monkeypatch.undo()
    writer.write(made([2]))
    writer.close()
    assert plain(RecordReader(ring).read(EVERYTHING)) == made([2])


# Damage at every byte


def check_damaged(ring: Path, everything: list[Any], n_whole: int, n_recovered: int, n_damaged: int) -> None:
    """Read a damaged ring as it is, then after recovery: true records only, and the `n_whole` first ones.

    After recovery at least `n_recovered` are there and at most `n_damaged` others are seen.
    """
    reader = RecordReader(ring)
    assert all(record in everything for record in plain(reader.read(EVERYTHING)))
    assert all(record in everything for record in plain(drain(reader.follow())))
    recover(ring, 0)
    reader = RecordReader(ring)
    got = plain(reader.read(EVERYTHING))
    assert all(record in everything for record in got)
    assert got[:n_whole] == everything[:n_whole]
    assert len(got) >= n_recovered
    follower = reader.follow()
    assert plain(drain(follower)) == got
    assert follower.counters.damaged <= n_damaged


@pytest.fixture(params=["sealed", "killed"])
def victim(
    ring: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a ring of one segment with six records, closed well or as a killed writer leaves it."""
    writer = RecordWriter(ring, DiskLimits(10**7, sync_s=600.0))
    for p in range(6):
        writer.write(made([p], 7 * p))
    shutil.copytree(ring, tmp_path / "killed")
    writer.close()
    monkeypatch.setattr(segment_files.os, "fdatasync", lambda _: None)
    return ring if request.param == "sealed" else tmp_path / "killed"


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + bytes([raw[at] ^ 0x41]) + raw[at + 1 :]


def cut(at: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at]


def torn(at: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + bytes(len(raw) - at)


@pytest.mark.parametrize("kind", ["data", "index"])
@pytest.mark.parametrize("damage", [cut, flip, torn])
def test_damage_at_every_byte(
    victim: Path, kind: str, damage: Callable[[int], Callable[[bytes], bytes]]
) -> None:
    everything = [made([p], 7 * p)[0] for p in range(6)]
    data_path, index_path = (segment_files.path(victim, 0, k) for k in ("data", "index"))
    data, index = data_path.read_bytes(), index_path.read_bytes()
    entries = np.frombuffer(index, ENTRY)
    ends = entries["offset"] + entries["n_bytes"]
    for at in range(len(data if kind == "data" else index)):
        data_path.write_bytes(damage(at)(data) if kind == "data" else data)
        index_path.write_bytes(damage(at)(index) if kind == "index" else index)
        if kind == "data":
            n_whole = int((ends <= at).sum())
            n_recovered = 5 if damage is flip and at >= HEADER_BYTES else n_whole
        else:
            n_whole = at // ENTRY.itemsize
            n_recovered = 5 if damage is flip else 6
        is_cut = damage is cut or (victim.name == "killed" and damage is torn)
        check_damaged(victim, everything, n_whole, n_recovered, 0 if is_cut else 6)


def test_recovered_ring_is_continued(victim: Path) -> None:
    data = segment_files.path(victim, 0, "data")
    with data.open("r+b") as file:
        file.truncate(data.stat().st_size - 1)
    writer = RecordWriter(victim, LIMITS)
    writer.write(made([6], 42))
    writer.close()
    got = drain(RecordReader(victim).follow())
    assert [r.pulse_id for r in got] == [0, 1, 2, 3, 4, 6]
    assert [r.number for r in got] == list(range(6))


def test_data_without_index_and_index_without_data(ring: Path) -> None:
    fill(ring, range(40))
    numbers = segment_files.numbers(ring)
    segment_files.path(ring, numbers[1], "index").unlink()
    segment_files.path(ring, numbers[0], "data").unlink()
    reader = RecordReader(ring)
    assert plain(drain(reader.follow())) == made(range(numbers[2], 40))
    assert plain(drain(Follower(ring, 0, None))) == made(range(numbers[2], 40))
    RecordWriter(ring, LIMITS).close()
    assert plain(RecordReader(ring).read(EVERYTHING)) == made(range(numbers[1], 40))


def test_damaged_record_is_absent_and_counted(ring: Path) -> None:
    fill(ring, range(4))
    data = segment_files.path(ring, 0, "data")
    raw = bytearray(data.read_bytes())
    raw[HEADER_BYTES + 60] ^= 1
    data.write_bytes(raw)
    reader = RecordReader(ring)
    with pytest.raises(AbsentError, match="damaged"):
        reader.get(0)
    assert plain(reader.read(EVERYTHING)) == made([1, 2, 3])
    assert reader.counters.damaged == 2
    follower = reader.follow()
    assert plain(drain(follower)) == made([1, 2, 3])
    assert follower.counters.damaged == 1


def test_segment_is_readable_after_it_was_removed(ring: Path) -> None:
    fill(ring, range(4))
    segment = Segment(ring, 0)
    segment_files.remove(ring, 0)
    ((records, n_damaged),) = segment.records(segment.load(), range(4))
    assert (plain(records), n_damaged) == (made(range(4)), 0)
    with pytest.raises(FileNotFoundError):
        Segment(ring, 0)


# Against a plain list

written = st.tuples(st.integers(0, 40), st.integers(0, 40), st.lists(st.binary(max_size=80), max_size=3))
act = st.one_of(
    st.lists(written, min_size=1, max_size=6),
    st.sampled_from(["reopen", "follow 0", "follow 1"]),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1200, 3000, 10**6]), st.lists(act, max_size=25))
def test_like_a_plain_list(max_bytes: int, acts: list[Any]) -> None:
    """A ring that is written, reopened and followed, against a list of everything that was written."""
    with tempfile.TemporaryDirectory() as name:
        ring, limits = Path(name) / "ring", DiskLimits(max_bytes, segment_bytes=500, sync_s=600.0)
        writer, epochs = RecordWriter(ring, limits), EpochCounter()
        reader = RecordReader(ring)
        followers, positions = [reader.follow(), reader.follow()], [0, 0]
        model: list[tuple[int, Record]] = []
        for do in acts:
            if do == "reopen":
                writer.close()
                writer = RecordWriter(ring, limits)
                if model:  # what a restart remembers: the epoch, its highest pulse id, its newest time
                    epochs = EpochCounter(*remembered(ring))
            elif isinstance(do, str):
                i = int(do[-1])
                got = drain(followers[i])
                assert [r.number for r in got] == sorted({r.number for r in got})
                assert all(plain([r]) == plain([model[r.number][1]]) for r in got)
                positions[i] += len(got)
                assert positions[i] + followers[i].counters.lost == len(model)
            else:
                for pulse_id, time_ns, parts in do:
                    epoch = epochs.place(pulse_id, time_ns)
                    record = Record(len(model), pulse_id, time_ns, epoch, tuple(map(memoryview, parts)))
                    model.append((epoch, record))
                writer.write([(p, t, parts) for p, t, parts in do])
            check_like(reader, [r for _, r in model])
        writer.close()


def remembered(ring: Path) -> tuple[int, int, int]:
    summary = Segment(ring, segment_files.numbers(ring)[-1]).summary()
    assert summary is not None
    return summary.epoch, summary.high_pulse, summary.high_time_ns


def check_like(reader: RecordReader, model: list[Record]) -> None:
    held = drain(reader.follow())
    assert plain(held) == plain(model[len(model) - len(held) :])
    assert [r.epoch for r in held] == [r.epoch for r in model[len(model) - len(held) :]]
    if not held:
        assert reader.span is None
        return
    newest = {r.pulse_id: r for r in held if r.epoch == model[-1].epoch}
    assert reader.span == PulseRange(min(newest), max(newest))
    assert list(reader.read(EVERYTHING)) == [newest[p] for p in sorted(newest)]
    assert [reader.get(p) for p in newest] == list(newest.values())
    assert list(reader.read_time(10, 30)) == [r for r in held if 10 <= r.time_ns <= 30]


# Events


def encode(event: Event) -> list[bytes | memoryview]:
    if event.pulse_id == 13:
        raise WireError("13 cannot be encoded.")
    return [b"%d" % event.pulse_id, memoryview(event.arrays["x"])]


def decode(record: Record) -> Event:
    parts = record.parts
    if bytes(parts[0]) == b"17":
        raise WireError("17 cannot be decoded.")
    pulse_id = int(bytes(parts[0]))
    return Event("camera", pulse_id, pulse_id, {"x": np.frombuffer(parts[1], "<u2")}, np.zeros(0, np.uint32))


def event(pulse_id: int) -> Event:
    parts = memoryview(b"%d" % pulse_id), memoryview(np.full(9, pulse_id, "<u2"))
    return decode(Record(0, pulse_id, pulse_id, 0, parts))


def test_ring_of_events(ring: Path) -> None:
    disk = DiskRing(ring, encode, decode, LIMITS)
    as_port: Ring = disk
    other = DiskReader(ring, decode)
    source: Source = other.reader()
    as_port.write([event(p) for p in range(10, 17)])
    assert disk.unencodable == 1
    assert disk.counters.written == 6
    assert disk.span == other.span == PulseRange(10, 16)
    assert disk.get(12).arrays["x"].tolist() == [12] * 9
    assert [e.pulse_id for e in disk.read(PulseRange(11, 14))] == [11, 12, 14]
    assert [e.pulse_id for e in other.read_time(12, 15)] == [12, 14, 15]
    got = source.read(0)
    assert got is not None
    assert [e.pulse_id for e in got] == [10, 11, 12, 14, 15, 16]
    assert source.read(0) == []
    source.close()
    assert source.read(0) is None
    disk.sync()
    assert disk.counters.synced == 6
    disk.close()


def test_what_cannot_be_decoded_is_counted(ring: Path) -> None:
    fill(ring, range(15, 20), n_bytes=18)
    reader = DiskReader(ring, decode)
    assert [e.pulse_id for e in reader.read(EVERYTHING)] == [15, 16, 18, 19]
    assert reader.undecodable == 1
    with pytest.raises(WireError):
        reader.get(17)
    source = reader.reader()
    assert [e.pulse_id for e in source.read(0) or ()] == [15, 16, 18, 19]
    assert source.undecodable == 1
    assert source.counters.lost == 0


def test_a_ring_that_holds_nothing_keeps_its_numbers_over_kills(ring: Path, tmp_path: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(10**7, max_age_s=100.0, sync_s=600.0))
    writer.write(made(range(10)))
    for kept in writer._kept:
        kept.written_ns = 0
    writer.drop_old()
    writer.close()
    for i in range(3):
        writer = RecordWriter(ring, LIMITS)
        killed = tmp_path / f"killed-{i}"
        shutil.copytree(ring, killed)  # what a kill before the first write leaves
        writer.close()
        ring = killed
    writer = RecordWriter(ring, LIMITS)
    writer.write(made(range(10, 12)))
    assert [record.number for record in RecordReader(ring).read(EVERYTHING)] == [10, 11]
    writer.close()


def test_a_reader_that_looked_before_sees_new_segments(ring: Path) -> None:
    fill(ring, range(100))
    reader = RecordReader(ring)
    os.utime(ring, ns=(0, 0))  # as if nothing had changed for long
    assert reader.span == reader.span == PulseRange(0, 99)
    fill(ring, range(100, 200))
    assert reader.span == PulseRange(0, 199)
    assert reader.get(150).pulse_id == 150


def test_epochs_go_on_after_everything_expired_and_the_ring_was_reopened(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(10**7, max_age_s=100.0, sync_s=600.0))
    writer.write(made(range(1000, 1010)))
    writer.write([(p, 20_000, parts_of(p)) for p in range(500, 510)])  # restarted
    for kept in writer._kept:
        kept.written_ns = 0
    writer.drop_old()
    writer.close()
    RecordWriter(ring, LIMITS).close()  # and once more without a record
    writer = RecordWriter(ring, LIMITS)
    writer.write([(p, 20_001, parts_of(p)) for p in range(510, 512)])
    assert [(r.number, r.epoch) for r in RecordReader(ring).read(EVERYTHING)] == [(20, 1), (21, 1)]
    writer.write([(p, 30_000, parts_of(p)) for p in range(505, 507)])  # restarted once more
    writer.close()
    assert [r.epoch for r in drain(RecordReader(ring).follow())] == [1, 1, 2, 2]


def test_a_counter_that_restarts_while_everything_expires_and_the_ring_is_closed(ring: Path) -> None:
    writer = RecordWriter(ring, DiskLimits(10**7, max_age_s=100.0, sync_s=600.0))
    writer.write(made(range(1000, 1010)))
    writer._kept[0].written_ns = 0
    writer.drop_old()
    writer.close()
    writer = RecordWriter(ring, LIMITS)
    writer.write([(900, 9000, parts_of(900)), (3, 10**12, parts_of(3))])  # a late one, then a restart
    writer.close()
    assert [(r.number, r.epoch) for r in drain(RecordReader(ring).follow())] == [(10, 0), (11, 1)]


def test_a_disk_on_which_no_segment_can_begin_costs_the_ring_no_numbers(
    ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RecordWriter(ring, LIMITS)
    for record in made(range(30)):
        writer.write([record])
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(segment_files, "_create", refuse)
        for record in made(range(30, 60)):
            writer.write([record])
    n = writer.counters.written
    assert n < 60 == n + writer.counters.not_written
    writer.close()
    writer = RecordWriter(ring, LIMITS)
    writer.write(made([60]))
    writer.close()
    assert RecordReader(ring).get(60).number == n


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 60), min_size=1), max_size=5), st.integers(0, 2))
def test_single_pulses_are_found_whatever_is_missing(groups: list[set[int]], n_empty: int) -> None:
    """In sealed segments and the open one, with late and repeated pulse ids between segments."""
    with tempfile.TemporaryDirectory() as name:
        ring = Path(name) / "ring"
        reader = None
        for group in groups:
            for _ in range(n_empty):
                RecordWriter(ring, LIMITS).close()
            writer = RecordWriter(ring, DiskLimits(10**7, segment_bytes=600))
            for p in sorted(group):
                writer.write([(p, p - 10**9, parts_of(p))])
            reader = reader or RecordReader(ring)
            expected = {record.pulse_id: record for record in reader.read(EVERYTHING)}
            for p in range(-1, 62):
                if p in expected:
                    assert reader.get(p) == expected[p]
                else:
                    with pytest.raises(RingError):
                        reader.get(p)
            writer.close()


def test_damaged_entries_of_single_pulses_are_absent(ring: Path) -> None:
    fill(ring, range(6))
    index = segment_files.path(ring, 0, "index")
    whole = index.read_bytes()
    for at in range(3 * ENTRY.itemsize, 4 * ENTRY.itemsize):
        raw = bytearray(whole)
        raw[at] ^= 0x11
        index.write_bytes(raw)
        if at < 4 * ENTRY.itemsize - 8:
            with pytest.raises(AbsentError):
                RecordReader(ring).get(3)
        else:  # the word that guards the entry: all else agrees with the record, and its checksum is right
            assert plain([RecordReader(ring).get(3)]) == made([3])
        assert RecordReader(ring).get(4).pulse_id == 4
