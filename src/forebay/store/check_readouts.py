"""The checks of a file of readouts, those of the original's files included, which say less of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.store import manifest as m
from forebay.store import readout_layout as layout
from forebay.store.layout import FORMAT_ATTRIBUTE
from forebay.store.readout_reader import generation_of
from forebay.store.report import Check, Chunk, Found, Layout
from forebay.wire.ssreadout import READOUT, present
from forebay.wire.target import N_MODULES

_BLOCK = 512


class Readouts:
    """An open file of readouts; what cannot be read is None or empty, and the checks say so."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self.format = _text(file.attrs.get(FORMAT_ATTRIBUTE, ""))
        self.table: h5py.Dataset = file[layout.TABLE]
        self.manifest, self.manifest_error = _manifest(file)
        found = file.get(layout.CHECKSUMS)
        self.checksums = found[...] if isinstance(found, h5py.Dataset) else np.empty(0, np.uint64)
        self.generation, self.table_error = "", ""
        self.times = self.numbers = np.empty(0, np.uint64)
        self.missing = np.zeros(N_MODULES, np.int64)
        self.n_incomplete = 0
        self.read_error = ""
        try:
            self.generation = generation_of(self.table)
            self._read()
        except StoreError as error:
            self.table_error = str(error)
        except (OSError, RuntimeError) as error:
            self.read_error = str(error)

    def _read(self) -> None:
        times, numbers = [self.times], [self.numbers]
        for start in range(0, len(self.table), _BLOCK):
            rows = self.table[start : start + _BLOCK]
            readouts: NDArray[np.void] = layout.to_readouts(rows, self.generation)  # type: ignore[arg-type]
            assert readouts.dtype == READOUT
            times.append(readouts["time_ns"].copy())
            numbers.append(readouts["number"].copy())
            absent = ~present(readouts)
            self.missing += absent.sum(axis=0)
            self.n_incomplete += int(np.count_nonzero(absent.any(axis=1)))
        self.times, self.numbers = np.concatenate(times), np.concatenate(numbers)

    @property
    def is_ours(self) -> bool:
        """Whether forebay wrote it."""
        return bool(self.format)

    @property
    def source(self) -> m.SourceAccount | None:
        """The manifest's account."""
        return next(iter(self.manifest.sources.values()), None) if self.manifest else None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _manifest(file: h5py.File) -> tuple[layout.ReadoutManifest | None, str]:
    note = file.get(layout.MANIFEST)
    if not isinstance(note, h5py.Dataset) or note.shape != ():
        return None, "The file has no manifest."
    try:
        return layout.from_json(bytes(note[()])), ""
    except StoreError as error:
        return None, str(error)


def _check_format(readouts: Readouts) -> Found:
    expected = f"{layout.FORMAT} {layout.VERSION}"
    if readouts.table_error:
        yield "problem", None, readouts.table_error
    elif not readouts.is_ours:
        yield "note", None, f"SSDAQ wrote it (table {readouts.generation}): nothing says what is missing."
    elif readouts.format != expected:
        yield "problem", None, f"The format is {readouts.format!r}; this software knows {expected!r}."


def _check_manifest(readouts: Readouts) -> Found:
    if not readouts.is_ours or readouts.read_error:
        return
    manifest, source = readouts.manifest, readouts.source
    if manifest is None or source is None:
        yield "problem", None, readouts.manifest_error or "The manifest has no account."
        return
    found = {
        "table": (manifest.generation, readouts.generation),
        "readouts": (source.got, len(readouts.table)),
        "readouts written": (manifest.counters.end.recorder.get("written"), len(readouts.table)),
        "incomplete readouts": (source.n_incomplete, readouts.n_incomplete),
        "missing modules": (
            manifest.missing_modules,
            {str(i): int(n) for i, n in enumerate(readouts.missing) if n},
        ),
    }
    for what, (said, is_there) in found.items():
        if said != is_there:
            yield "problem", None, f"The manifest says {what}: {said}; the file has {is_there}."


def _check_readable(readouts: Readouts) -> Found:
    if readouts.read_error:
        yield "problem", None, f"The table cannot be read: {readouts.read_error}"
    said = readouts.table.attrs.get("NROWS")
    if said is not None and int(said) != len(readouts.table):
        yield "problem", None, f"The table says that it has {said} rows; it has {len(readouts.table)}."


def _check_checksum(readouts: Readouts) -> Found:
    if not readouts.is_ours:
        return
    table = readouts.table
    n_chunks = -(-len(table) // table.chunks[0])
    if n_chunks != len(readouts.checksums):
        yield "problem", None, f"There are {len(readouts.checksums)} checksums for {n_chunks} chunks."
        return
    for i, said in enumerate(readouts.checksums.tolist()):
        row = i * table.chunks[0]
        try:
            found = xxhash.xxh3_64_intdigest(table.id.read_direct_chunk((row,))[1])
        except (OSError, RuntimeError) as error:
            yield "problem", None, f"Rows from {row} on cannot be read: {error}."
            continue
        if found != said:
            yield "problem", None, f"Rows from {row} on: checksum {found:016x}, not {said:016x}."


def _check_time_order(readouts: Readouts) -> Found:
    times = readouts.times.astype(np.int64)
    for i in np.flatnonzero(np.diff(times) <= 0).tolist():
        yield "note", int(times[i + 1]), f"The time tag of row {i + 1} is not beyond that of the row before."


def _check_numbers(readouts: Readouts) -> Found:
    numbers = readouts.numbers.astype(np.int64)
    for i in np.flatnonzero(np.diff(numbers) != 1).tolist():
        before, now = int(numbers[i]), int(numbers[i + 1])
        yield (
            "note",
            int(readouts.times[i + 1]),
            f"Readout {now} follows {before}: the count began anew, or readouts did not come here.",
        )


def _check_incomplete(readouts: Readouts) -> Found:
    if readouts.n_incomplete:
        worst = [f"{i} ({n})" for i, n in enumerate(readouts.missing.tolist()) if n]
        more = " ..." if len(worst) > 10 else ""
        said = f"{readouts.n_incomplete} readouts lack modules: {', '.join(worst[:10])}{more}."
        yield "loss", None, said


def _check_not_written(readouts: Readouts) -> Found:
    source = readouts.source
    if source is not None and source.not_written.n:
        yield "loss", None, f"{source.not_written.n} readouts came but could not be written."


def _check_counters(readouts: Readouts) -> Found:
    if readouts.manifest is None or readouts.manifest.closed_by != "recorder":
        return
    counts = readouts.manifest.counters.end.recorder
    if counts.get("received") != counts.get("written", 0) + counts.get("not_written", 0):
        yield "problem", None, f"Counters of the recorder: received is {counts.get('received')}."
    for port, grown in readouts.manifest.counters.difference.receiver.items():
        if n := grown.get("kernel_drop"):
            yield "note", None, f"The kernel dropped {n} datagrams of port {port}."
    builder = readouts.manifest.counters.end.builder
    used = sum(builder.get(name, 0) for name in ("used", "late", "duplicate", "implausible"))
    if "blocks" in builder and builder["blocks"] != used:
        yield "problem", None, f"Counters of the builder: {builder['blocks']} blocks came, {used} add up."


def _rows(readouts: Readouts) -> list[tuple[str, str]]:
    rows = [("readouts", str(len(readouts.table))), ("table", f"SSDAQ, generation {readouts.generation}")]
    if len(readouts.times):
        rows.append(("time tags", f"{readouts.times.min()} to {readouts.times.max()} ns"))
    rows.append(("incomplete", str(readouts.n_incomplete)))
    manifest = readouts.manifest
    if manifest is None:
        return rows
    return [
        *rows,
        ("camera", ", ".join(manifest.sources)),
        ("time", f"{manifest.start_time} to {manifest.end_time}"),
        ("ended", f"{manifest.reason}; closed by {manifest.closed_by} of {manifest.software}"),
    ]


def _is_mine(file: h5py.File) -> bool:
    table = file.get(layout.TABLE)
    return isinstance(table, h5py.Dataset) and table.ndim == 1


def _no_chunks(readouts: Readouts, every: int) -> Iterator[Chunk]:  # noqa: ARG001 - all layouts look alike
    return iter(())  # a chunk holds many readouts: "checksum" looks at all of them


READOUTS = Layout(
    checks=(
        Check("format", "The format and its version are known.", _check_format),
        Check("manifest", "The manifest is there and agrees with the datasets.", _check_manifest),
        Check("readable", "Every row can be read.", _check_readable),
        Check("checksum", "The stored bytes of each image have their checksum.", _check_checksum),
        Check("time-order", "Time tags rise from row to row.", _check_time_order),
        Check("numbers", "Readouts are numbered one by one.", _check_numbers),
        Check("incomplete-readouts", "Every module of every readout came.", _check_incomplete),
        Check("not-written", "Everything that came was written.", _check_not_written),
        Check("counters", "The counters of every stage add up.", _check_counters),
    ),
    is_mine=_is_mine,
    open=Readouts,
    rows=_rows,
    chunks=_no_chunks,
)
"""The layout of readouts."""
