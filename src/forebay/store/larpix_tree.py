"""The two kinds of LArPix files while they are written: packets row by row, or messages as they came."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.store.larpix_chips import CONTROL_VERSIONS, top_folder
from forebay.store.larpix_manifest import (
    CHUNK_MESSAGES,
    CHUNK_ROWS,
    ChipRegisters,
    LarpixRecording,
    subrun_number,
)
from forebay.store.room import Room, WriteBack
from forebay.wire.larpix.row import MESSAGE, PACKET_TYPES, SYNC, Rows, of_version, row_type, stored_type
from forebay.wire.larpix.word import WordFormat, format_of
from forebay.wire.pacman_batch import PacmanArrays

NOTE = np.dtype([("message", "S64"), ("timestamp", "<u8"), ("index", "<u4")])
_CONFIG = (("timestamp", "<u8"), ("io_group", "u1"), ("io_channel", "u1"), ("chip_id", "u1"))
_CONFIG_REGISTERS = 239  # as larpix-control has it; wider only for chips that have more
_STANDING = 4 * 2**20  # bytes that closing a file takes at most
_WITHOUT_SYNC = ("1.0", "2.0", "2.1")  # versions that have no rows for sync and trigger words
_GROWTH = 64  # chunks by which a dataset is made longer at a time
_PACKED_MESSAGES, _PACKED_BYTES = 8 * CHUNK_MESSAGES, 4 * 2**20


class Tree(Protocol):
    """A file of one kind in the making; the system's and HDF5's errors pass through."""

    n: int
    words_without_row: int

    def holds(self, asic_version: str) -> bool:
        """Whether nothing is lost of words of such chips."""
        ...

    def append(self, arrays: PacmanArrays) -> None:
        """Take the messages of one block."""
        ...

    def note(self, seconds: int, text: str) -> None:
        """Take a text, if this kind of file has texts."""
        ...

    def finish(self, manifest: str) -> None:
        """Write everything else and close the file."""
        ...

    def flush(self) -> None:
        """Write everything that was taken."""
        ...

    def close(self) -> None:
        """Close the file as it is; may be called twice."""
        ...


class _Open:
    """What both kinds have: an open file, room on the disk, checksums, the manifest."""

    def __init__(self, path: Path, recording: LarpixRecording, about: str, libver: str) -> None:
        self.path = path
        self.n = 0
        self.words_without_row = 0
        self._recording = recording
        self._file = h5py.File(path, "x", libver=libver, rdcc_nbytes=2**20)
        self._fd: int = self._file.id.get_vfd_handle()
        self._room = Room(self._fd)
        self._write_back = WriteBack(self._fd)
        self._checksums: list[int] = []
        self._about = self._file.create_group(about)
        created = datetime.fromisoformat(recording.start_time) if recording.start_time else datetime.now(UTC)
        self._about.attrs["created"] = self._about.attrs["modified"] = created.timestamp()
        if recording.run is not None:
            self._about.attrs["run"] = recording.run
        if recording.subrun is not None:
            self._about.attrs["subrun"] = subrun_number(recording.run, recording.subrun)
        if recording.data_stream:
            self._about.attrs["data_stream"] = recording.data_stream

    def _take_room(self, n_bytes: int) -> None:
        end = self._file.id.get_filesize()
        self._room.take(end + n_bytes + _STANDING)
        self._write_back.advance(end)

    def _conclude(self, manifest: str) -> None:
        self._write_back.check()
        self._about.attrs["modified"] = datetime.now(UTC).timestamp()
        if self._recording.daq_configs:
            embedded = self._file.create_dataset(
                "daq_configs", data=np.frombuffer(self._recording.daq_configs, np.uint8)
            )
            embedded.attrs["dirname"] = top_folder(self._recording.daq_configs)
        own = self._file.create_group("forebay")
        own["checksums"] = np.array(self._checksums, "<u8")
        own["manifest"] = manifest
        self.close()
        os.truncate(self.path, self.path.stat().st_size)  # gives back what was taken and not needed

    def close(self) -> None:
        """Close the file as it is; may be called twice."""
        self._file.close()


class PacketTree(_Open):
    """LArPix+HDF5: a row for each packet, written in whole chunks."""

    def __init__(self, path: Path, recording: LarpixRecording) -> None:
        super().__init__(path, recording, "_header", "earliest")
        self._version = recording.format_version
        self._about.attrs["version"] = self._version
        self.kind = row_type({format_of(version) for version in recording.all_asic_versions})
        self._stored = stored_type(self._version, self.kind)
        self._rows = self._file.create_dataset(
            "packets", (0,), self._stored, maxshape=(None,), chunks=(CHUNK_ROWS,), fillvalue=None
        )
        lines = "".join(f"{number}: '{name}',\n" for number, name in PACKET_TYPES.items())
        self._rows.attrs["packet_types"] = f"\n{lines}"
        self._pending: list[Rows] = []
        self._n_pending = 0
        self._notes: list[tuple[bytes, int, int]] = []

    def holds(self, asic_version: str) -> bool:
        """Whether nothing is lost of words of such chips."""
        if self._version == "1.0":
            return asic_version == "1"
        return row_type({format_of(asic_version)}).itemsize <= self.kind.itemsize

    def append(self, arrays: PacmanArrays) -> None:
        """Take the messages of one block."""
        word_format: WordFormat = arrays.word_format
        self.append_rows(*arrays.batch.rows(arrays.io_group, word_format, kind=self.kind))

    def append_rows(self, rows: Rows, n_unknown: int = 0) -> None:
        """Take rows, of the type `kind`, and how many words have none."""
        if self._version in _WITHOUT_SYNC:
            is_packet = rows["packet_type"] < SYNC
            n_unknown += len(rows) - int(np.count_nonzero(is_packet))
            rows = rows[is_packet]
        self._take_room((self._n_pending + len(rows) + CHUNK_ROWS) * self._stored.itemsize)
        self.words_without_row += n_unknown
        self._pending.append(of_version(rows, self._version).view(np.uint8))  # bytes are copied much faster
        self._n_pending += len(rows)
        self.n += len(rows)
        if self._n_pending >= CHUNK_ROWS:
            self._write(self._n_pending // CHUNK_ROWS)

    def note(self, seconds: int, text: str) -> None:
        """Take a text: 64 bytes of it, and a row at its place among the packets."""
        rows = np.zeros(1, self.kind)
        rows["packet_type"], rows["timestamp"], rows["counter"] = MESSAGE, seconds, len(self._notes)
        self._notes.append((text.encode()[:64], seconds, len(self._notes)))
        self.append_rows(rows)

    def _write(self, n_chunks: int) -> None:
        pending = np.concatenate(self._pending)
        n_bytes = CHUNK_ROWS * self._stored.itemsize
        first = len(self._checksums)
        if self._rows.shape[0] < (first + n_chunks) * CHUNK_ROWS:
            self._rows.resize(((first + n_chunks + _GROWTH) * CHUNK_ROWS,))
        for i in range(n_chunks):
            chunk = pending[i * n_bytes : (i + 1) * n_bytes]
            self._rows.id.write_direct_chunk(((first + i) * CHUNK_ROWS,), chunk)
            self._checksums.append(xxhash.xxh3_64_intdigest(chunk.data))
        self._pending = [pending[n_chunks * n_bytes :].copy()]
        self._n_pending -= n_chunks * CHUNK_ROWS

    def flush(self) -> None:
        """Write everything that was taken; nothing can be taken behind it."""
        self._rows.resize((self.n,))
        if self._n_pending:
            rest = np.concatenate(self._pending)
            self._rows[self.n - self._n_pending :] = rest.view(self._stored)
            self._checksums.append(xxhash.xxh3_64_intdigest(rest.data))
            self._pending, self._n_pending = [], 0

    def finish(self, manifest: str) -> None:
        """Write everything else and close the file."""
        self.flush()
        notes = np.array(self._notes, NOTE)
        self._file.create_dataset("messages", data=notes, maxshape=(None,), chunks=(max(len(notes), 128),))
        if self._version == "2.4":
            self._write_configurations(self._recording.chips)
        self._conclude(manifest)

    def _write_configurations(self, chips: Sequence[ChipRegisters]) -> None:
        """Write ``configs`` for the version that comes first, ``configs_VERSION`` for each other."""
        boards = self._recording.all_asic_versions
        versions = list(dict.fromkeys(chip.asic_version for chip in chips)) or list(boards[:1]) or ["2"]
        seconds = int(self._about.attrs["created"])
        for version in versions:
            own = [chip for chip in chips if chip.asic_version == version]
            n = max([_CONFIG_REGISTERS, *(len(chip.registers) for chip in own)])
            table = np.zeros(len(own), [*_CONFIG, ("registers", "u1", (n,))])
            for row, chip in zip(table, own, strict=True):
                row["timestamp"], row["io_group"], row["io_channel"] = seconds, chip.io_group, chip.io_channel
                row["chip_id"] = chip.chip_id
                row["registers"][: len(chip.registers)] = np.frombuffer(chip.registers, np.uint8)
            name = "configs" if version == versions[0] else f"configs_{version}"
            dataset = self._file.create_dataset(name, data=table, maxshape=(None,), chunks=(64,))
            dataset.attrs["asic_version"] = CONTROL_VERSIONS.get(version, version)


class RawTree(_Open):
    """Messages as they came, with the io group of each."""

    def __init__(self, path: Path, recording: LarpixRecording) -> None:
        super().__init__(path, recording, "meta", "latest")
        self._about.attrs["version"] = self._about.attrs["io_version"] = "0.0"
        kinds: dict[str, Any] = {
            "msgs": h5py.vlen_dtype(np.uint8),
            "msg_headers": np.dtype([("io_groups", "u1")]),
        }
        self._messages, self._headers = (
            self._file.create_dataset(
                name, (0,), kind, maxshape=(None,), chunks=(CHUNK_MESSAGES,), compression="gzip"
            )
            for name, kind in kinds.items()
        )
        self._kind = h5py.h5t.vlen_create(h5py.h5t.NATIVE_UINT8)
        self._written = self._pending_bytes = 0
        self._pending: list[tuple[NDArray[np.uint8], NDArray[np.int64], int]] = []

    def append(self, arrays: PacmanArrays) -> None:
        """Take the messages of one block."""
        batch = arrays.batch
        self._take_room(self._pending_bytes + len(batch.data) + 64 * (_PACKED_MESSAGES + batch.n_messages))
        self._pending_bytes += len(batch.data)
        self._pending.append((batch.data, batch.lengths, arrays.io_group))
        self.n += batch.n_messages
        n_pending = self.n - self._written
        if n_pending >= _PACKED_MESSAGES or (
            n_pending >= CHUNK_MESSAGES and self._pending_bytes > _PACKED_BYTES
        ):
            self._write(n_pending // CHUNK_MESSAGES * CHUNK_MESSAGES)

    def holds(self, asic_version: str) -> bool:  # noqa: ARG002
        """Messages are what they are."""
        return True

    def note(self, seconds: int, text: str) -> None:
        """Leave the text out: this kind of file has none."""

    def _write(self, n: int) -> None:
        data = np.concatenate([one[0] for one in self._pending])
        lengths = np.concatenate([one[1] for one in self._pending])
        groups = np.repeat(
            np.array([one[2] for one in self._pending], np.uint8), [len(one[1]) for one in self._pending]
        )
        ends = np.cumsum(lengths)
        start, end = self._written, self._written + n
        self._messages.resize((end,))
        self._headers.resize((end,))
        # What HDF5 takes for a value of variable length is its length and its address; h5py would make
        # these from one Python object a message.
        places = np.empty(n, [("n", np.uintp), ("address", np.uintp)])
        places["n"] = lengths[:n]
        places["address"] = data.ctypes.data + (ends - lengths)[:n]
        space = self._messages.id.get_space()
        space.select_hyperslab((start,), (n,))
        self._messages.id.write(h5py.h5s.create_simple((n,)), space, places, self._kind)
        self._headers[start:end] = groups[:n].view(self._headers.dtype)
        for first in range(0, n, CHUNK_MESSAGES):
            last = min(first + CHUNK_MESSAGES, n) - 1
            covered = data[ends[first] - lengths[first] : ends[last]]
            self._checksums.append(xxhash.xxh3_64_intdigest(covered.data))
        rest = data[ends[n - 1] :].copy()
        self._pending = _split(rest, lengths[n:], groups[n:])
        self._written = end
        self._pending_bytes = len(rest)

    def flush(self) -> None:
        """Write everything that was taken; nothing can be taken behind it."""
        if self.n > self._written:
            self._write(self.n - self._written)

    def finish(self, manifest: str) -> None:
        """Write everything else and close the file."""
        self.flush()
        self._conclude(manifest)


def _split(
    data: NDArray[np.uint8], lengths: NDArray[np.int64], groups: NDArray[np.uint8]
) -> list[tuple[NDArray[np.uint8], NDArray[np.int64], int]]:
    """Return stretches of messages of one io group each."""
    if not lengths.size:
        return []
    cuts = np.flatnonzero(np.diff(groups)) + 1
    ends = np.cumsum(lengths)
    datas = np.split(data, ends[cuts - 1])
    return [
        (part, own, int(group[0]))
        for part, own, group in zip(datas, np.split(lengths, cuts), np.split(groups, cuts), strict=True)
    ]


def open_tree(path: Path, recording: LarpixRecording) -> PacketTree | RawTree:
    """Create the file of a recording."""
    return PacketTree(path, recording) if recording.form == "packets" else RawTree(path, recording)
