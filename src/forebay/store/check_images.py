"""The checks of a file of images; each yields what it finds and knows nothing of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.errors import RangeError, StoreError, WireError
from forebay.pulse import PulseRange
from forebay.store import manifest as m
from forebay.store.layout import COLUMNS, FORMAT_ATTRIBUTE, GOOD, status_of
from forebay.store.report import Check, Chunk, Found, Layout
from forebay.wire.compress import FILTER, decompress

_NS = 1_000_000_000
_Parts = tuple[str, ...]
_RECEIVED: _Parts = ("placed", "duplicate", "late", "malformed", "foreign", "overrun")
_FRAMES: _Parts = ("used", "late", "duplicate", "implausible")
_RECORDED: _Parts = ("written", "not_written", "overwritten")


class Images:
    """An open file of images; what cannot be read is None or empty, and the checks say so."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self.format = str(file.attrs.get(FORMAT_ATTRIBUTE, ""))
        self.detector = _detector(file)
        self.manifest, self.manifest_error = _manifest(file)
        detector = self.detector
        self.data = _dataset(detector, "data")
        self.n: int = self.data.shape[0] if self.data is not None and self.data.ndim == 3 else 0
        self.columns: dict[str, NDArray[Any]] = {}
        for name in COLUMNS:
            dataset = _dataset(detector, name)
            self.columns[name] = np.empty(0, np.uint64) if dataset is None else dataset[...]
        self.pulse_ids = self.columns["pulse_id"].astype(np.int64)
        self.missing_packets = self.columns["missing_packets"]
        self.packets_per_module = int(detector.attrs.get("packets_per_module", 0)) if detector else 0

    @property
    def source(self) -> m.SourceAccount | None:
        """The manifest's account of this detector."""
        if self.manifest is None or self.detector is None:
            return None
        return self.manifest.sources.get(self.detector.name.rsplit("/", 1)[-1])

    @property
    def is_consistent(self) -> bool:
        """Whether every column has a row for each image."""
        return (
            self.data is not None
            and self.missing_packets.ndim == 2
            and all(len(column) == self.n for column in self.columns.values())
        )

    @property
    def requested(self) -> PulseRange | None:
        """The pulses asked for, where the request named them."""
        try:
            return None if self.manifest is None else self.manifest.requested.range
        except RangeError:
            return None


def _detector(file: h5py.File) -> h5py.Group | None:
    instrument = file.get("entry/instrument")
    if not isinstance(instrument, h5py.Group):
        return None
    groups = [group for group in instrument.values() if isinstance(group, h5py.Group)]
    return groups[0] if groups else None


def _dataset(group: h5py.Group | None, name: str) -> h5py.Dataset | None:
    found = None if group is None else group.get(name)
    return found if isinstance(found, h5py.Dataset) else None


def _manifest(file: h5py.File) -> tuple[m.Manifest | None, str]:
    note = file.get("entry/manifest/data")
    if not isinstance(note, h5py.Dataset) or note.shape != ():
        return None, "The file has no manifest."
    text = note[()]
    try:
        return m.from_json(text if isinstance(text, bytes) else str(text)), ""
    except StoreError as error:
        return None, str(error)


def _chunks(images: Images, every: int) -> Iterator[Chunk]:
    data = images.data
    if data is None or not images.is_consistent:
        return
    shape, dtype = data.shape[1:], data.dtype
    is_compressed = str(FILTER) in data._filters  # noqa: SLF001 - h5py has no public name for it
    for row in range(0, images.n, every):
        try:
            raw = data.id.read_direct_chunk((row, 0, 0))[1]
        except (OSError, RuntimeError):
            raw = b""  # no chunk has the checksum of nothing: the check of that says so
        stored = np.frombuffer(raw, np.uint8)

        def decode(stored: NDArray[np.uint8]) -> NDArray[Any]:
            if is_compressed:
                return decompress(stored, shape, dtype)
            if stored.nbytes != dtype.itemsize * shape[0] * shape[1]:
                raise WireError(f"{stored.nbytes} bytes are not an image of {shape} {dtype}.")
            pixels: NDArray[Any] = stored.view(dtype).reshape(shape)
            return pixels

        yield Chunk(row, int(images.pulse_ids[row]), stored, decode)


def _check_format(images: Images) -> Found:
    expected = f"{m.FORMAT} {m.VERSION}"
    if images.format != expected:
        yield "problem", None, f"The format is {images.format!r}; this software knows {expected!r}."


def _check_manifest(images: Images) -> Found:
    manifest = images.manifest
    if manifest is None:
        yield "problem", None, images.manifest_error
        return
    if images.detector is None or images.data is None:
        yield "problem", None, "The file has no detector with images."
        return
    source = images.source
    if source is None:
        yield "problem", None, f"The manifest does not know {images.detector.name}."
        return
    for name, column in images.columns.items():
        if len(column) != images.n:
            yield "problem", None, f"{name} has {len(column)} rows for {images.n} images."
    found = {
        "images": (source.got, images.n),
        "incomplete images": (source.n_incomplete, int(np.count_nonzero(images.columns["status"]))),
        "missing pulses": (source.missing.n, m.missing_pulses(_expected(images), images.pulse_ids).n),
        "images written": (manifest.counters.end.recorder.get("written", images.n), images.n),
    }
    if not source.missing.is_whole:
        del found["missing pulses"]  # the list is cut, and with it the last pulse that was seen
    for what, (said, is_there) in found.items():
        if said != is_there:
            yield "problem", None, f"The manifest says {said} {what}, the file has {is_there}."


def _expected(images: Images) -> range:
    """Return the pulses that should be there: asked for, or between the first and the last seen."""
    requested, source, ids = images.requested, images.source, images.pulse_ids
    if requested is not None:
        return range(requested.first, requested.last + 1, requested.step)
    if source is None or images.manifest is None:
        return range(0)
    lost = m.pulse_ids(source.missing)
    if not ids.size and not lost.size:
        return range(0)
    seen = np.r_[ids, lost]
    return m.expected_pulses(images.manifest.requested, int(seen.min()), int(seen.max()))


def _check_pulse_order(images: Images) -> Found:
    ids = images.pulse_ids
    for row in np.flatnonzero(np.diff(ids) <= 0) + 1:
        yield "problem", int(ids[row]), f"Pulse {ids[row]} in row {row} follows {ids[row - 1]}."


def _check_pulse_range(images: Images) -> Found:
    asked = images.requested
    if asked is None:
        return
    ids = images.pulse_ids
    for pulse_id in ids[(ids < asked.first) | (ids > asked.last) | (ids % asked.step != 0)]:
        yield "problem", int(pulse_id), f"Pulse {pulse_id} is not one of {asked}."


def _check_missing_pulses(images: Images) -> Found:
    missing = m.missing_pulses(_expected(images), images.pulse_ids)
    for text in missing.ranges:
        lost = PulseRange.parse(text)
        which = f"Pulse {lost.first} is" if len(lost) == 1 else f"{len(lost)} pulses {lost} are"
        yield "loss", lost.first, f"{which} missing."
    if images.manifest is not None:
        asked = images.manifest.requested.images
        if asked is not None and images.n != asked:
            yield "loss", None, f"{asked} images were asked for, {images.n} are there."


def _check_not_written(images: Images) -> Found:
    source = images.source
    if source is None:
        return
    for what, pulses in (
        ("left the ring before they were written", source.overwritten),
        ("came but could not be written", source.not_written),
    ):
        for text in pulses.ranges:
            lost = PulseRange.parse(text)
            yield "loss", lost.first, f"{len(lost)} images {what}: {lost}."


def _check_incomplete_images(images: Images) -> Found:
    if not images.is_consistent:
        return
    for row in np.flatnonzero(images.missing_packets.any(axis=1)):
        missing = images.missing_packets[row]
        lost = ", ".join(f"{missing[i]} of module {i}" for i in np.flatnonzero(missing))
        pulse_id = int(images.pulse_ids[row])
        yield "loss", pulse_id, f"Pulse {pulse_id} lacks packets: {lost}."


def _check_status(images: Images) -> Found:
    status, missing = images.columns["status"], images.missing_packets
    if not images.is_consistent:
        return
    suspects = np.flatnonzero((status != GOOD) | missing.any(axis=1))
    for row in suspects:
        right = status_of(missing[row], images.packets_per_module)
        if status[row] != right:
            pulse_id = int(images.pulse_ids[row])
            yield "problem", pulse_id, f"Pulse {pulse_id} has status {status[row]}; its packets say {right}."


def _check_counters(images: Images) -> Found:
    if images.manifest is None:
        return
    for when in ("end", "difference"):
        counters: m.Counters = getattr(images.manifest.counters, when)
        sums = [(f"port {port}", counts, "received", _RECEIVED) for port, counts in counters.receiver.items()]
        sums.append(("the builder", counters.builder, "frames", _FRAMES))
        sums.append(("the recorder", counters.recorder, "received", _RECORDED))
        for where, counts, total, parts in sums:
            added = sum(counts.get(name, 0) for name in parts)
            if counts and counts.get(total) != added:
                yield (
                    "problem",
                    None,
                    f"Counters of {where} ({when}): {total} is {counts.get(total)}, "
                    f"but {' + '.join(parts)} is {added}.",
                )
    for port, counts in images.manifest.counters.difference.receiver.items():
        if counts.get("kernel_drop"):
            yield "note", None, f"The kernel dropped {counts['kernel_drop']} packets of port {port}."


def _check_times(images: Images) -> Found:
    times = images.columns["time_ns"].astype(np.int64)
    if len(times) != len(images.pulse_ids):
        return
    for row in np.flatnonzero(np.diff(times) < 0) + 1:
        back = (times[row - 1] - times[row]) / _NS
        pulse_id = int(images.pulse_ids[row])
        yield "note", pulse_id, f"Pulse {pulse_id} came {back:.6f} s before the pulse ahead of it."


def _check_checksum(images: Images, chunk: Chunk) -> Found:
    said = int(images.columns["checksum"][chunk.row])
    found = xxhash.xxh3_64_intdigest(chunk.data.data)
    if said != found:
        yield "problem", chunk.pulse_id, f"Pulse {chunk.pulse_id}: checksum {found:016x}, not {said:016x}."


def _check_decompress(images: Images, chunk: Chunk) -> Found:  # noqa: ARG001 - all checks look alike
    try:
        _ = chunk.pixels
    except WireError as error:
        yield "problem", chunk.pulse_id, f"Pulse {chunk.pulse_id}: {error}"


def _check_fill(images: Images, chunk: Chunk) -> Found:
    missing, per_module = images.missing_packets[chunk.row], images.packets_per_module
    if not missing.any() or not per_module:
        return
    try:
        pixels = chunk.pixels
    except WireError:
        return  # the check "decompress" says so
    if pixels.size % (missing.size * per_module):
        return
    is_empty = ~pixels.reshape(missing.size, per_module, -1).any(axis=2)
    n_empty = np.count_nonzero(is_empty, axis=1)
    for i in np.flatnonzero(n_empty < missing):
        yield (
            "problem",
            chunk.pulse_id,
            f"Pulse {chunk.pulse_id}: module {i} lacks {missing[i]} packets, but only {n_empty[i]} are 0.",
        )


def _rows(images: Images) -> list[tuple[str, str]]:
    rows = [("images", str(images.n))]
    if images.data is not None:
        stored = images.data.id.get_storage_size()
        rows.append(("image", f"{' x '.join(map(str, images.data.shape[1:]))} {images.data.dtype}"))
        rows.append(("stored", f"{stored} bytes, {images.data.nbytes / max(stored, 1):.2f} times smaller"))
    incomplete = int(np.count_nonzero(images.columns["status"]))
    rows += [("incomplete images", str(incomplete)), ("lost packets", str(int(images.missing_packets.sum())))]
    manifest, source = images.manifest, images.source
    if manifest is None or source is None:
        return rows
    return [
        ("asked", str(manifest.requested)),
        ("expected", str(source.expected)),
        ("got", str(source.got)),
        ("missing", str(source.missing.n)),
        *rows[1:],
        ("overwritten in the ring", str(source.overwritten.n)),
        ("not written", str(source.not_written.n)),
        ("time", f"{manifest.start_time} to {manifest.end_time}"),
        ("ended", f"{manifest.reason}; closed by {manifest.closed_by} of {manifest.software}"),
    ]


IMAGES = Layout(
    checks=(
        Check("format", "The format and its version are known.", _check_format),
        Check("manifest", "The manifest is there and agrees with the datasets.", _check_manifest),
        Check("pulse-order", "Pulse ids rise from image to image.", _check_pulse_order),
        Check("pulse-range", "Every pulse id is one that was asked for.", _check_pulse_range),
        Check("missing-pulses", "Every pulse that was asked for is there.", _check_missing_pulses),
        Check("not-written", "Everything that came was written.", _check_not_written),
        Check("incomplete-images", "No image lacks packets.", _check_incomplete_images),
        Check("status", "The status of each image agrees with its missing packets.", _check_status),
        Check("counters", "The counters of every stage add up.", _check_counters),
        Check("times", "Times rise from image to image.", _check_times),
        Check("checksum", "The stored bytes of each image have their checksum.", None, _check_checksum),
        Check("decompress", "Each image decompresses to its size.", None, _check_decompress),
        Check("fill", "Where packets are missing, pixels are 0.", None, _check_fill),
    ),
    is_mine=lambda file: FORMAT_ATTRIBUTE in file.attrs,
    open=Images,
    rows=_rows,
    chunks=_chunks,
)
