"""A file of readouts that is being filled: whole chunks of rows, compressed by ourselves."""

from __future__ import annotations

import bz2
import os
import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import h5py
import hdf5plugin
import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.store import manifest as m
from forebay.store import readout_layout as layout
from forebay.store.layout import CHECKSUM, FORMAT_ATTRIBUTE
from forebay.store.readout_layout import ReadoutManifest, ReadoutRecording
from forebay.store.room import Room
from forebay.wire.camera_map import SSL2ASIC_CH
from forebay.wire.ssreadout import present
from forebay.wire.target import N_MODULES

CHUNK_ROWS = 64
_TELESCOPE_ROWS = 1638  # of a chunk, as in the files of the original
_CLOSING_BYTES = 4 * 2**20  # groups, attributes, a long manifest
_CHUNK_BYTES = 256  # of HDF5's index and our checksum, a chunk
_BZIP2_BLOCKS = 9


class ReadoutTree:
    """Rows in, one table out. Used from one thread; HDF5's and the system's errors pass through.

    Parameters
    ----------
    path:
        Must not exist.

    Attributes
    ----------
    n:
        Readouts taken.
    """

    def __init__(self, path: Path, recording: ReadoutRecording) -> None:
        self.path = path
        self.recording = recording
        self.n = 0
        self._row = layout.ROW_A if recording.generation == "A" else layout.ROW_B
        self._pending = np.zeros(CHUNK_ROWS, self._row)
        self._n_stored = 0
        self._checksums = array("Q")
        self._incomplete: list[m.IncompletePulse] = []
        self._n_incomplete = 0
        self._missing = np.zeros(N_MODULES, np.int64)
        with TemporaryFile(dir=path.parent) as probe:
            Room(probe.fileno()).take(_CLOSING_BYTES)
        self._file = h5py.File(path, "x", libver=("earliest", "v110"))
        self._room = Room(self._file.id.get_vfd_handle())
        self._table = self._make()

    def _make(self) -> h5py.Dataset:
        file = self._file
        _as_group(file, "CHEC-S Slow signal monitor data")
        file.attrs["PYTABLES_FORMAT_VERSION"] = np.bytes_("2.1")
        file.attrs[FORMAT_ATTRIBUTE] = np.bytes_(f"{layout.FORMAT} {layout.VERSION}")
        _as_group(file.create_group(layout.GROUP), "Slow signal data")
        table = self._create(layout.TABLE, self._row, CHUNK_ROWS, "Slow signal readout")
        if self.recording.generation == "A":
            table.attrs[layout.VERSION_A] = np.int64(1)
        else:
            table.attrs[layout.VERSION_B] = np.int64(0)
            table.attrs["ssdaq_version"] = np.bytes_(m.software())
            table.attrs["ssl2asic_ch"] = SSL2ASIC_CH
        for name, value in self.recording.attributes.items():
            if isinstance(value, str):  # of fixed length: PyTables knows no other
                text = value.encode() or b" "
                table.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", len(text)))
            else:
                table.attrs[name] = value
        return table

    def _create(self, name: str, row: np.dtype[np.void], chunk: int, title: str) -> h5py.Dataset:
        filters: dict[str, Any] = {
            "zlib": {"shuffle": True, "compression": "gzip", "compression_opts": 1},
            "bzip2": {"shuffle": True, **hdf5plugin.BZip2(_BZIP2_BLOCKS)},
            "none": {},
        }[self.recording.compression]
        table = self._file.create_dataset(name, (0,), row, maxshape=(None,), chunks=(chunk,), **filters)
        table.attrs.update(
            {"CLASS": np.bytes_("TABLE"), "VERSION": np.bytes_("2.7"), "TITLE": np.bytes_(title)}
        )
        table.attrs.update(layout.fields_as_pytables(row))
        table.attrs["NROWS"] = np.int64(0)
        return table

    @property
    def n_bytes(self) -> int:
        """How long the file is."""
        return int(self._file.id.get_filesize())

    def make_room(self, n: int) -> None:
        """Make sure that so many more readouts fit on the disk; raises as `Room.take`."""
        n_chunks = len(self._checksums) + n // CHUNK_ROWS + 2
        rows = (n + 2 * CHUNK_ROWS) * self._row.itemsize
        self._room.take(self.n_bytes + rows + _CLOSING_BYTES + n_chunks * _CHUNK_BYTES)

    def add(self, readouts: NDArray[np.void]) -> None:
        """Take readouts, (readout,) of `forebay.wire.ssreadout.READOUT`; there must be room for them."""
        rows = layout.to_rows(readouts, self.recording.generation)
        self._account(readouts)
        start = 0
        while start < len(rows):
            held = self.n - self._n_stored
            end = min(len(rows), start + CHUNK_ROWS - held)
            self._pending[held : held + end - start] = rows[start:end]
            self.n += end - start
            start = end
            if self.n - self._n_stored == CHUNK_ROWS:
                self._store()

    def _account(self, readouts: NDArray[np.void]) -> None:
        absent = ~present(readouts)
        self._missing += absent.sum(axis=0)
        bad = np.flatnonzero(absent.any(axis=1))
        self._n_incomplete += len(bad)
        for i in bad[: m.MAX_LISTED - len(self._incomplete)].tolist():
            lacking = {str(module): 1 for module in np.flatnonzero(absent[i]).tolist()}
            self._incomplete.append(m.IncompletePulse(int(readouts["time_ns"][i]), lacking))

    def _store(self) -> None:
        """Write the pending rows as a chunk."""
        packed = pack(self._pending, self.recording.compression)
        self._table.resize(self.n, axis=0)
        self._table.id.write_direct_chunk((self._n_stored,), packed)
        self._checksums.append(xxhash.xxh3_64_intdigest(packed))
        self._n_stored = self.n

    def finish(
        self,
        counters: m.Counters,
        closed_by: m.ClosedBy,
        reason: str,
        not_written: Sequence[int] = (),
        telescope: NDArray[np.void] | None = None,
    ) -> ReadoutManifest:
        """Write everything else and close the file.

        Parameters
        ----------
        not_written:
            Time tags of readouts that came and are not in the file.
        telescope:
            Rows of `ROW_TELESCOPE`; None writes no such table.
        """
        held = self.n - self._n_stored
        if held:
            self._pending[held:] = np.zeros(1, self._row)
            self._store()
        self._table.attrs["NROWS"] = np.int64(self.n)
        if telescope is not None:
            self._room.take(self.n_bytes + telescope.nbytes + _CLOSING_BYTES)
            table = self._create(layout.TELESCOPE, layout.ROW_TELESCOPE, _TELESCOPE_ROWS, "Telescope data")
            table.resize(len(telescope), axis=0)
            table[...] = telescope
            table.attrs["NROWS"] = np.int64(len(telescope))
        manifest = self._manifest(counters, closed_by, reason, not_written)
        text = manifest.to_json()
        self._room.take(self.n_bytes + len(text) + _CLOSING_BYTES)
        notes = self._file.create_group(layout.NOTES)
        _as_group(notes, "What forebay says of this file")
        notes[layout.MANIFEST.rpartition("/")[2]] = np.bytes_(text)
        checksums = notes.create_dataset(
            layout.CHECKSUMS.rpartition("/")[2], data=np.array(self._checksums, np.uint64)
        )
        checksums.attrs["algorithm"] = np.bytes_(CHECKSUM)
        self.close()
        os.truncate(self.path, self.path.stat().st_size)  # gives back what was taken and not needed
        return manifest

    def _manifest(
        self, counters: m.Counters, closed_by: m.ClosedBy, reason: str, not_written: Sequence[int]
    ) -> ReadoutManifest:
        recording = self.recording
        # Time tags are expected at no pulse: how many there are is all that the account says of them.
        none = np.empty(0, np.int64)
        account = m.account(range(0), none, self._incomplete, self._n_incomplete, (), not_written)
        account = msgspec.structs.replace(account, got=self.n)
        return ReadoutManifest(
            format=layout.FORMAT,
            version=layout.VERSION,
            software=m.software(),
            requested=recording.requested,
            sources={recording.source: account},
            counters=m.CounterChange(recording.counters, counters, counters.since(recording.counters)),
            start_time=recording.start_time,
            end_time=m.now(),
            compression=recording.compression,
            checksum=CHECKSUM,
            closed_by=closed_by,
            reason=reason,
            configuration=recording.configuration,
            generation=recording.generation,
            missing_modules={str(i): int(n) for i, n in enumerate(self._missing) if n},
        )

    def close(self) -> None:
        """Close the file as it is; may be called twice."""
        self._file.close()


def pack(rows: NDArray[np.void], compression: layout.Compression) -> bytes:
    """Return the chunk of these rows as it is stored: bytes of equal place side by side, compressed."""
    if compression == "none":
        return rows.tobytes()
    shuffled = np.ascontiguousarray(rows.view(np.uint8).reshape(len(rows), -1).T)
    if compression == "bzip2":
        return bz2.compress(shuffled.data, _BZIP2_BLOCKS)
    # Amplitudes are noise with a common exponent: runs and Huffman's code find nearly all that matches
    # would, in half the time.
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return packer.compress(shuffled.data) + packer.flush()


def _as_group(group: h5py.Group, title: str) -> None:
    group.attrs.update({"CLASS": np.bytes_("GROUP"), "VERSION": np.bytes_("1.0"), "TITLE": np.bytes_(title)})
