"""The layout of a file of images: which dataset holds what, under which name, in NeXus' words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from forebay.store import manifest as m
from forebay.store.chunks import Chunks
from forebay.store.journal import record_type
from forebay.store.room import Room
from forebay.wire.compress import BLOCK_ELEMENTS

FORMAT_ATTRIBUTE = "forebay_format"
CHECKSUM = "xxh3_64"
GOOD, MISSING_PACKETS, MISSING_MODULES = 0, 1, 2

_STATUS = "0 good, 1 packets are missing, 2 whole modules are missing; missing pixels are 0"
_ROWS = 256  # the images grow by so many at a time
_GROUPS_BYTES = 2**20  # of groups and attributes, generously
_CLOSING_BYTES = _GROUPS_BYTES + 3 * 2**20  # and a long manifest
_INDEX_BYTES = 256  # of HDF5's index, an image; it takes about a hundred
_INDEX_CACHE_BYTES = 2**18
_BLOCK = 4096  # rows of metadata written at a time


def status_of(missing_packets: NDArray[Any], packets_per_module: int) -> int:
    """Return the status of an image from the missing packets of each module."""
    if not missing_packets.any():
        return GOOD
    dead = packets_per_module and (missing_packets >= packets_per_module).any()
    return MISSING_MODULES if dead else MISSING_PACKETS


def field_name(detector: str, field: str) -> str:
    """Return the name in the file of a field of the detector's header."""
    names = {"framenum": "frame_index"}
    if detector == "jungfrau":
        names["debug"] = "daq_rec"
    return names.get(field, field)


class ImageLayout:
    """A file of images that is being filled: chunks first, everything else at the end.

    Used from one thread. HDF5's and the system's errors (OSError, RuntimeError) pass through.

    Parameters
    ----------
    path:
        Must not exist.
    """

    def __init__(self, path: Path, recording: m.Recording) -> None:
        self.path = path
        self.recording = recording
        self.n = 0
        with TemporaryFile(dir=path.parent) as probe:
            Room(probe.fileno()).take(_CLOSING_BYTES)
        # HDF5 1.10 and later read this; "latest" would be for HDF5 2.0 only
        self._file = h5py.File(path, "x", libver=("earliest", "v110"))
        self._room = Room(self._file.id.get_vfd_handle())
        self._chunks = Chunks(self._file)
        self._row_bytes = _INDEX_BYTES + record_type(recording).itemsize
        self._rows = 0
        detector = self._detector = self._groups()
        filters: dict[str, Any] = {}
        if recording.compression != "none":
            filters = dict(hdf5plugin.Bitshuffle(BLOCK_ELEMENTS, "lz4"))
        self._data = detector.create_dataset(
            "data",
            shape=(0, *recording.shape),
            maxshape=(None, *recording.shape),
            dtype=np.dtype(recording.dtype),
            chunks=(1, *recording.shape),
            **filters,
        )
        self._data.attrs.update(
            {"interpretation": "image", "units": "counts", "long_name": f"{recording.source} images"}
        )

    def _groups(self) -> h5py.Group:
        file, recording = self._file, self.recording
        file.attrs.update(
            {
                "NX_class": "NXroot",
                "default": "entry",
                "creator": m.software(),
                "file_time": m.now(),
                FORMAT_ATTRIBUTE: f"{m.FORMAT} {m.VERSION}",
            }
        )
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        entry["title"] = f"{recording.source}: {recording.requested}"
        entry["start_time"] = recording.start_time
        instrument = _group(entry, "instrument", "NXinstrument")
        detector = _group(instrument, recording.source, "NXdetector")
        detector.attrs["packets_per_module"] = recording.packets_per_module
        detector["type"] = recording.detector
        return detector

    def append(self, chunk: NDArray[np.uint8]) -> int:
        """Write the chunk of the next image and return its offset in the file; bytes."""
        file_end = self._file.id.get_filesize()
        self._room.take(file_end + chunk.nbytes + _CLOSING_BYTES + (self.n + 1) * self._row_bytes)
        if self.n == self._rows:
            self._data.resize(self._rows + _ROWS, axis=0)
            self._rows += _ROWS
        offset = self._chunks.write(self._data, self.n, chunk)
        self.n += 1
        return offset

    def finish(self, records: NDArray[np.void], manifest: m.Manifest) -> None:
        """Write everything else and close the file.

        Parameters
        ----------
        records:
            (image,) of `record_type`; mapped ones are read block by block.
        """
        self._chunks.check()
        text = manifest.to_json().decode()
        file_end = self._file.id.get_filesize()
        self._room.take(file_end + _GROUPS_BYTES + self.n * self._row_bytes + len(text))
        self._data.resize(self.n, axis=0)
        detector = self._detector
        columns = {name: _column(detector, name, records.dtype[name], self.n) for name in COLUMNS}
        header = _group(detector, "header", "NXcollection")
        fields = {
            name: _field(header, self.recording.detector, name, records.dtype["header"], self.n)
            for name in records.dtype["header"].base.names or ()
        }
        for rows in blocks(self.n):
            for name, column in columns.items():
                column[rows] = records[name][rows]
            for name, field in fields.items():
                field[rows] = records["header"][name][rows]
        self._plot()
        entry = self._file["entry"]
        entry["end_time"] = manifest.end_time
        note = _group(entry, "manifest", "NXnote")
        note["type"] = "application/json"
        note["data"] = text
        self.close()
        os.truncate(self.path, self.path.stat().st_size)  # gives back what was taken and not needed

    def _plot(self) -> None:
        """Say what to plot: viewers that know NeXus open the images by themselves."""
        plot = _group(self._file["entry"], "data", "NXdata")
        plot.attrs["signal"] = "data"
        plot.attrs["axes"] = ["pulse_id", ".", "."]
        for name in ("data", "pulse_id"):
            dataset = self._detector[name]
            dataset.attrs["target"] = dataset.name
            plot[name] = dataset

    def close(self) -> None:
        """Close the file as it is; may be called twice."""
        self._file.close()


def _bound_index(file: h5py.File) -> None:
    """Keep little of HDF5's index in memory: by default it takes tens of MB in the course of a long run."""
    cache = file.id.get_mdc_config()
    cache.set_initial_size = True
    cache.initial_size = cache.min_size = cache.max_size = _INDEX_CACHE_BYTES
    file.id.set_mdc_config(cache)


COLUMNS = {
    "pulse_id": {"long_name": "pulse id", "units": ""},
    "time_ns": {"long_name": "arrival of the first packet, since 1970, UTC", "units": "ns"},
    "status": {"long_name": "status", "meaning": _STATUS},
    "missing_packets": {"long_name": "packets that did not come, of each module", "units": ""},
    "checksum": {"long_name": "checksum of the image's chunk as stored", "algorithm": CHECKSUM},
}


def blocks(n: int) -> Iterator[slice]:
    """Return slices of bounded length that make up 0 .. n, end excluded."""
    return (slice(i, min(i + _BLOCK, n)) for i in range(0, n, _BLOCK))


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _column(group: h5py.Group, name: str, kind: np.dtype[Any], n: int) -> h5py.Dataset:
    dataset = group.create_dataset(name, shape=(n, *kind.shape), dtype=kind.base)
    dataset.attrs.update(COLUMNS[name])
    return dataset


def _field(group: h5py.Group, detector: str, name: str, header: np.dtype[Any], n: int) -> h5py.Dataset:
    dataset = group.create_dataset(
        field_name(detector, name), shape=(n, *header.shape), dtype=header.base[name]
    )
    dataset.attrs["long_name"] = f"{name} in the detector's header, of each module"
    return dataset


def build_manifest(
    recording: m.Recording,
    records: NDArray[np.void],
    counters: m.Counters,
    closed_by: m.ClosedBy,
    reason: str,
    seen: tuple[int, int] | None = None,
    overwritten: list[int] | None = None,
    not_written: list[int] | None = None,
) -> m.Manifest:
    """Return the manifest of a file that holds these records.

    Parameters
    ----------
    counters:
        As they are now.
    seen:
        First and last pulse id that came, written or not; by default those of the records.
    """
    pulse_ids = np.array(records["pulse_id"])
    if seen is None and pulse_ids.size:
        seen = int(pulse_ids.min()), int(pulse_ids.max())
    bad = np.flatnonzero(records["status"] != GOOD)
    incomplete = [
        m.IncompletePulse(
            int(pulse_ids[row]),
            {str(i): int(k) for i, k in enumerate(records["missing_packets"][row]) if k},
        )
        for row in bad[: m.MAX_LISTED]
    ]
    first, last = seen or (None, None)
    source = m.account(
        m.expected_pulses(recording.requested, first, last),
        pulse_ids,
        incomplete,
        int(bad.size),
        overwritten or [],
        not_written or [],
    )
    return m.Manifest(
        format=m.FORMAT,
        version=m.VERSION,
        software=m.software(),
        requested=recording.requested,
        sources={recording.source: source},
        counters=m.CounterChange(recording.counters, counters, counters.since(recording.counters)),
        start_time=recording.start_time,
        end_time=_end_time(records, closed_by),
        compression=recording.compression,
        checksum=CHECKSUM,
        closed_by=closed_by,
        reason=reason,
        configuration=recording.configuration,
        gain=recording.gain,
        pedestal=recording.pedestal,
    )


def _end_time(records: NDArray[np.void], closed_by: m.ClosedBy) -> str:
    """Return the time of closing, or of the last image where the recorder was killed."""
    if closed_by == "recorder" or not len(records):
        return m.now()
    last = datetime.fromtimestamp(int(records["time_ns"][-1]) / 1e9, UTC)
    return last.isoformat(timespec="microseconds").replace("+00:00", "Z")
