"""What a segment's bytes mean: packed records come back, damaged ones do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import ConfigError, RingError
from forebay.pulse import MAX_PULSE_ID
from forebay.ring.disk_limits import DiskLimits, ReadCounters
from forebay.ring.memory import MAX_LOSSES
from forebay.ring.segment import (
    ENTRY,
    HEADER_BYTES,
    JOIN_BYTES,
    RECORD,
    Block,
    Record,
    Summary,
    mix,
    pack_header,
    unpack,
    unpack_header,
    words_of,
)

pytestmark = pytest.mark.unit

one_record = st.tuples(
    st.integers(0, MAX_PULSE_ID),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.binary(max_size=60), max_size=5) | st.lists(st.binary(max_size=60), min_size=1, max_size=1),
)
one_part = st.tuples(st.integers(0, MAX_PULSE_ID), st.just(0), st.tuples(st.binary(max_size=60)).map(list))


def pack(records: list[tuple[int, int, list[bytes]]], epoch: int = 3) -> tuple[bytes, bytes]:
    block = Block(epoch)
    for record in records:
        block.add(*record)
    data, index = b"".join(block.data), block.index(HEADER_BYTES)
    assert block.n_bytes == len(data)
    assert block.n_records * ENTRY.itemsize == len(index)
    return data, index


def take(data: bytes, index: bytes) -> tuple[list[Record], int]:
    entries = np.frombuffer(index, ENTRY)
    records, n_damaged = unpack(data, HEADER_BYTES, entries, range(len(entries)))
    return list(records), n_damaged


def test_sizes_of_the_format() -> None:
    assert (HEADER_BYTES, RECORD.itemsize, ENTRY.itemsize) == (88, 40, 56)
    assert ENTRY.fields is not None
    assert ENTRY.fields["pulse_id"][1] == 24


@given(st.lists(one_record, max_size=8) | st.lists(one_part, max_size=8))
def test_packed_records_come_back(records: list[tuple[int, int, list[bytes]]]) -> None:
    data, index = pack(records)
    found, n_damaged = take(data, index)
    assert [(r.pulse_id, r.time_ns, [bytes(p) for p in r.parts]) for r in found] == records
    assert [(type(r), r.number, r.epoch) for r in found] == [(Record, i, 3) for i in range(len(records))]
    assert all(part.readonly for record in found for part in record.parts)
    assert n_damaged == 0


def test_large_and_small_records_have_the_same_format() -> None:
    parts = [b"a" * JOIN_BYTES, b"", memoryview(np.arange(5, dtype="<u2")), b"xyz"]
    block = Block(0)
    block.add(1, 2, parts)
    (record,), _ = take(b"".join(block.data), block.index(HEADER_BYTES))
    assert [bytes(p) for p in record.parts] == [bytes(p) for p in parts]
    assert all(p.readonly for p in record.parts)
    assert block.n_bytes % 8 == 0


@given(st.lists(one_record, min_size=1, max_size=3) | st.lists(one_part, min_size=1, max_size=3), st.data())
def test_any_flipped_bit_is_found(records: list[tuple[int, int, list[bytes]]], data: st.DataObject) -> None:
    packed, index = pack(records)
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    broken = bytearray(packed)
    broken[bit // 8] ^= 1 << bit % 8
    (whole, _), (found, n_damaged) = take(packed, index), take(bytes(broken), index)
    at = np.frombuffer(index, ENTRY)["offset"] - HEADER_BYTES
    hit = int(np.searchsorted(at, bit // 8, "right")) - 1
    assert n_damaged == 1
    assert found == [r for i, r in enumerate(whole) if i != hit]


@given(st.lists(one_record, min_size=1, max_size=3), st.data())
def test_any_flipped_bit_of_the_index_is_found(
    records: list[tuple[int, int, list[bytes]]], data: st.DataObject
) -> None:
    _, index = pack(records)
    bit = data.draw(st.integers(0, 8 * len(index) - 1))
    broken = bytearray(index)
    broken[bit // 8] ^= 1 << bit % 8
    entries = np.frombuffer(bytes(broken), ENTRY)
    wrong = np.flatnonzero(entries["mix"] != mix(words_of(entries)))
    assert wrong.tolist() == [bit // 8 // ENTRY.itemsize]


def test_zeros_are_no_entry() -> None:
    entries = np.zeros(2, ENTRY)
    assert (entries["mix"] != mix(words_of(entries))).all()


def test_forged_part_sizes_are_not_followed() -> None:
    """A record whose checksum is right although its sizes point beyond it."""
    from xxhash import xxh3_64_intdigest

    data, index = pack([(1, 1, [b"abcdefgh"])])
    for sizes, n_parts in ((b"\xff\xff\xff\xff", 1), (b"\x08\0\0\0", 2**32 - 1)):
        forged = bytearray(data)
        forged[36:40] = n_parts.to_bytes(4, "little")
        forged[40:44] = sizes
        checksum = xxh3_64_intdigest(bytes(forged[8:])).to_bytes(8, "little")
        forged[:8] = checksum
        entry = bytearray(index)
        entry[8:48] = forged[:40]
        assert take(bytes(forged), bytes(entry)) == ([], 1)


def test_header_of_open_sealed_damaged_and_foreign_segments() -> None:
    sealed = Summary(7, 1, 3, 10, 20, -5, 5, 1)
    assert unpack_header(pack_header(sealed), 7) == sealed
    assert unpack_header(pack_header(sealed), 8) is None
    assert unpack_header(pack_header(sealed._replace(n_records=-1)), 7) is None
    assert unpack_header(pack_header(sealed)[:-1], 7) is None
    raw = bytearray(pack_header(sealed))
    raw[40] ^= 1
    assert unpack_header(bytes(raw), 7) is None


def test_another_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from forebay.ring import segment

    monkeypatch.setattr(segment, "_MAGIC", b"forebay ring 2\n\0")
    raw = pack_header(Summary(7, 1, 3, 10, 20, -5, 5, 1))
    monkeypatch.undo()
    with pytest.raises(RingError, match="ring 2"):
        unpack_header(raw, 7)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": 1}, "max_bytes"),
        ({"max_bytes": 100, "segment_bytes": 51}, "segment_bytes"),
        ({"max_bytes": 2**30, "segment_bytes": -1}, "segment"),
        ({"max_bytes": 2**30, "max_age_s": 0.0}, "max_age_s"),
        ({"max_bytes": 2**30, "sync_s": float("nan")}, "sync_s"),
        ({"max_bytes": 2**30, "unsynced_bytes": 0}, "unsynced_bytes"),
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        DiskLimits(**limits)  # type: ignore[arg-type]


def test_default_segment_size() -> None:
    assert DiskLimits(1000).segment_bytes == 500
    assert DiskLimits(2**21).segment_bytes == 2**20
    assert DiskLimits(2**30).segment_bytes == 2**24
    assert DiskLimits(2**40).segment_bytes == 2**28


def test_losses_are_counted_beyond_what_is_remembered() -> None:
    counters = ReadCounters()
    for i in range(MAX_LOSSES + 5):
        counters.lose(2, 3 * i, 3 * i + 1)
    counters.lose(4, 7, 6)
    assert counters.lost == 2 * MAX_LOSSES + 14
    assert len(counters.lost_pulses) == MAX_LOSSES
    assert counters.lost_pulses[0].first == 15
