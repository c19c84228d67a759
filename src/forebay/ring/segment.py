"""One segment of a disk ring: a data file of records, and an index file that says where they are.

Data file: a header of 88 bytes (`_HEADER`, then its checksum), then records one after the other. A
record is 40 bytes (`RECORD`), the size of each part as uint32, zeros up to a multiple of 8, the parts,
zeros up to a multiple of 8. Its checksum (XXH3, 64 bits) covers everything in it but itself.

Index file: an `ENTRY` for each record in the same order: the record's place, a copy of its 40 bytes,
and a word that mixes all these, so that a damaged entry is known without looking at the data.

Data are written before their entry. Both files are named by the number of their first record; the
records of a ring are numbered from 0 without a gap, so that what is missing between two segments is
known. All integers are little endian. No size that was read is used before it was checked.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64, xxh3_64_intdigest

from forebay.errors import RingError
from forebay.pulse import MAX_PULSE_ID

Part = bytes | bytearray | memoryview
"""Contiguous bytes of any item type."""

MAX_PARTS: Final = 100_000
MAX_PART_BYTES: Final = 2**32 - 1
JOIN_BYTES: Final = 32 * 2**10
"""Below this, joining parts costs less than handling them one by one."""

_MAGIC: Final = b"forebay ring 1\n\0"
_HEADER: Final = struct.Struct("<16s8q")
HEADER_BYTES: Final = _HEADER.size + 8

RECORD: Final = np.dtype(
    [
        ("checksum", "<u8"),
        ("n_bytes", "<i8"),  # of the whole record
        ("pulse_id", "<i8"),
        ("time_ns", "<i8"),
        ("epoch", "<u4"),
        ("n_parts", "<u4"),
    ]
)
ENTRY: Final = np.dtype([("offset", "<i8"), *((n, RECORD[n]) for n in RECORD.names or ()), ("mix", "<u8")])
RECORD_BYTES: Final = RECORD.itemsize
_AFTER_CHECKSUM: Final = struct.Struct("<qqqII")
_WORDS: Final = ENTRY.itemsize // 8
_ODD: Final = np.array(
    [0x9E3779B97F4A7C15 * (2 * i + 1) & 0xFFFFFFFFFFFFFFFF for i in range(_WORDS - 1)], "<u8"
)
_ODD_INTEGERS: Final[list[int]] = _ODD.tolist()
_ENTRY_FIELDS: Final = struct.Struct("<qQqqqIIQ")  # the fields of `ENTRY`
_SIZE: Final = struct.Struct("<I")  # of one part
_unpack_entry: Final = _ENTRY_FIELDS.unpack
_PLACE: Final = struct.Struct("<qQq")  # the first of them: offset, checksum, size
_ENTRY_WORDS: Final = struct.Struct(f"<{_WORDS}Q")  # the same as words

Entries = NDArray[Any]
"""Index entries, (record,) of `ENTRY`."""


class Record(NamedTuple):
    """What a ring keeps of one event; a tuple because hundreds of thousands are made a second.

    `number` counts the records of the ring from 0, `epoch` the restarts of the pulse counter. The
    `parts` are read-only views of one larger block that they keep alive.
    """

    number: int
    pulse_id: int
    time_ns: int
    epoch: int
    parts: tuple[memoryview, ...]


_record_of: Final = partial(tuple.__new__, Record)  # from a tuple of its fields


class Summary(NamedTuple):
    """What one segment holds: `n_records` numbered from `number`, all of one `epoch`; ends included."""

    number: int
    epoch: int
    n_records: int
    low_pulse: int
    high_pulse: int
    low_time_ns: int
    high_time_ns: int
    is_ascending: int
    """1 if each pulse id is larger than the one before, so that it can be searched for in halves."""


class Block:
    """Records of one epoch, packed and waiting to be written together."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.n_records = 0
        self.n_bytes = 0
        self.low_pulse, self.high_pulse = MAX_PULSE_ID, -1
        self.is_ascending = True
        self.low_time_ns, self.high_time_ns = 2**63 - 1, -(2**63)
        self.data: list[Part] = []
        self._entries: list[bytes] = []

    def add(self, pulse_id: int, time_ns: int, parts: Sequence[Part]) -> None:
        """Pack one record; large parts are kept by reference until the block is written."""
        sizes = [len(part) if type(part) is bytes else memoryview(part).nbytes for part in parts]
        n_parts = len(sizes)
        before = RECORD.itemsize + 4 * n_parts
        end = before + -before % 8 + sum(sizes)
        n_bytes = end + -end % 8
        fields = _AFTER_CHECKSUM.pack(n_bytes, pulse_id, time_ns, self.epoch, n_parts)
        head = fields + struct.pack(f"<{n_parts}I", *sizes) + bytes(-before % 8)
        if n_bytes < JOIN_BYTES:
            body = b"".join((head, *parts, bytes(-end % 8)))
            checksum = xxh3_64_intdigest(body).to_bytes(8, "little")
            self.data += (checksum, body)
        else:
            digest = xxh3_64(head)
            for part in (*parts, bytes(-end % 8)):
                digest.update(part)
            checksum = digest.intdigest().to_bytes(8, "little")
            self.data += (checksum + head, *parts, bytes(-end % 8))
        self._entries += (self.n_bytes.to_bytes(8, "little"), checksum, fields)
        self.n_bytes += n_bytes
        self.n_records += 1
        self.is_ascending = self.is_ascending and pulse_id > self.high_pulse
        self.low_pulse, self.high_pulse = min(self.low_pulse, pulse_id), max(self.high_pulse, pulse_id)
        self.low_time_ns = min(self.low_time_ns, time_ns)
        self.high_time_ns = max(self.high_time_ns, time_ns)

    def index(self, offset: int) -> bytes:
        """Return the index entries of this block once its first record lies at `offset`."""
        words = np.frombuffer(b"".join(self._entries), "<u8").reshape(-1, _WORDS - 1)
        out = np.empty((len(words), _WORDS), "<u8")
        out[:, :-1] = words
        out[:, 0] += np.uint64(offset)
        out[:, -1] = mix(out)
        return out.tobytes()


def unpack(
    block: bytes | memoryview, base: int, entries: Entries, numbers: Sequence[int]
) -> tuple[Iterator[Record], int]:
    """Take records out of the bytes that lie at `base` of the data file.

    Returns the whole ones, in the order of `entries`, and how many are damaged.
    """
    view = memoryview(block)
    start = entries["offset"] - base
    single = _unpack_single(view, start, entries, numbers)
    if single is not None:
        return single, 0
    raw, n = entries.tobytes(), ENTRY.itemsize
    end = start + entries["n_bytes"]
    places = zip(start.tolist(), end.tolist(), range(0, len(raw), n), numbers, strict=True)
    found = [unpack_one(view[begin:stop], raw[i : i + n], number) for begin, stop, i, number in places]
    whole = [record for record in found if record is not None]
    return iter(whole), len(found) - len(whole)


def _unpack_single(
    view: memoryview, start: NDArray[np.int64], entries: Entries, numbers: Sequence[int]
) -> Iterator[Record] | None:
    """Take out records of one part each, none in a step of its own; None if any is not so, or damaged."""
    if (entries["n_parts"] != 1).any():
        return None
    end = start + entries["n_bytes"]
    words = np.frombuffer(view[: len(view) // 8 * 8], "<u8")
    if (start % 8).any() or (end > 8 * len(words)).any() or (entries["n_bytes"] < RECORD_BYTES + 8).any():
        return None
    place = start // 8
    bodies = map(view.__getitem__, map(slice, (start + 8).tolist(), end.tolist()))
    digests = np.fromiter(map(xxh3_64_intdigest, bodies), np.uint64, len(start))
    if (digests != entries["checksum"]).any() or (words[place] != digests).any():
        return None  # what else stands in an entry is behind its checksum, and under that of the record
    begin = start + RECORD_BYTES + 8
    stop = begin + (words[place + RECORD_BYTES // 8] & 0xFFFFFFFF).astype(np.int64)
    if (stop > end).any():
        return None
    parts = zip(map(view.__getitem__, map(slice, begin.tolist(), stop.tolist())))
    fields = (entries[name].tolist() for name in ("pulse_id", "time_ns", "epoch"))
    return map(_record_of, zip(numbers, *fields, parts, strict=True))


def unpack_one(block: bytes | memoryview, entry: bytes, number: int) -> Record | None:
    """Take the only record out of its bytes; None if it, or its entry, is damaged."""
    _, checksum, n_bytes, pulse_id, time_ns, epoch, n_parts, _ = _unpack_entry(entry)
    if block[:RECORD_BYTES] != entry[8:-8] or n_bytes > len(block):
        return None
    view = memoryview(block)
    if xxh3_64_intdigest(view[8:n_bytes]) != checksum:
        return None
    parts = _parts(view, n_bytes, n_parts)
    return None if parts is None else _record_of((number, pulse_id, time_ns, epoch, parts))


def pulse_id_of(entry: bytes) -> int:
    """Return what an entry, perhaps a damaged one, says; -1 behind the last entry."""
    return int.from_bytes(entry[24:32], "little", signed=True) if entry else -1


def where_of(entry: bytes, data_bytes: int) -> tuple[int, int] | None:
    """Return place and size of the record that an entry, perhaps a damaged one, tells of.

    None if it cannot be: no such record lies in a data file of `data_bytes`.
    """
    if len(entry) != ENTRY.itemsize:
        return None
    offset, _, n_bytes = _PLACE.unpack_from(entry)
    if offset < HEADER_BYTES or not RECORD_BYTES <= n_bytes <= data_bytes - offset:
        return None
    return offset, n_bytes


def place_of(entry: bytes, data_bytes: int) -> tuple[int, int, int] | None:
    """Return pulse id, place and size of the record that an entry tells of; None if the entry is damaged.

    Parameters
    ----------
    data_bytes:
        Of the data file: the record lies in it.
    """
    where = where_of(entry, data_bytes)
    if where is None:
        return None
    *words, mixed = _ENTRY_WORDS.unpack(entry)
    pulse_id = pulse_id_of(entry)
    if sum(map(operator.mul, words, _ODD_INTEGERS)) + 1 & 0xFFFFFFFFFFFFFFFF != mixed or pulse_id < 0:
        return None
    return pulse_id, *where


def _parts(record: memoryview, n_bytes: int, n_parts: int) -> tuple[memoryview, ...] | None:
    """Return the parts of a record of `n_bytes`; None if they do not fit into it."""
    place = RECORD_BYTES + 4 * n_parts
    place += -place % 8
    if place > n_bytes:
        return None
    if n_parts == 1:
        end = place + _SIZE.unpack_from(record, RECORD_BYTES)[0]
        return (record[place:end],) if end <= n_bytes else None
    sizes = struct.unpack_from(f"<{n_parts}I", record, RECORD_BYTES)
    if place + sum(sizes) > n_bytes:
        return None
    cut = []
    for part_bytes in sizes:
        cut.append(record[place : place + part_bytes])
        place += part_bytes
    return tuple(cut)


def words_of(entries: Entries) -> NDArray[np.uint64]:
    """Return the same entries as words, (record, word)."""
    return np.ascontiguousarray(entries).view("<u8").reshape(-1, _WORDS)


def mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the words of each entry but the last; any one flipped bit changes the result, zeros give 1."""
    mixed: NDArray[np.uint64] = words[:, :-1] @ _ODD + np.uint64(1)
    return mixed


def pack_header(summary: Summary) -> bytes:
    """Return the header of a data file; if `n_records` is negative, of an open one, see `SegmentWriter`."""
    raw = _HEADER.pack(_MAGIC, *summary)
    return raw + xxh3_64_intdigest(raw).to_bytes(8, "little")


def unpack_header(raw: bytes, number: int) -> Summary | None:
    """Return what the sealed segment `number` holds; None if it is not sealed or the header is damaged."""
    summary = _unpack_header(raw, number)
    return summary if summary is not None and summary.n_records > 0 else None


def unpack_begun(raw: bytes, number: int) -> Summary | None:
    """Return what an open segment says; None if it is sealed or the header is damaged."""
    summary = _unpack_header(raw, number)
    return summary if summary is not None and summary.n_records < 0 else None


def _unpack_header(raw: bytes, number: int) -> Summary | None:
    if len(raw) < HEADER_BYTES or xxh3_64_intdigest(raw[:-8]).to_bytes(8, "little") != raw[-8:]:
        return None
    magic, *values = _HEADER.unpack(raw[:-8])
    if magic != _MAGIC:
        raise RingError(
            f"Segment {number} of the disk ring has the format {magic!r}; this version reads {_MAGIC!r}.",
            "Read it with the version that wrote it.",
        )
    summary = Summary(*values)
    return summary if summary.number == number else None
