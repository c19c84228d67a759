"""The checks of files of channels, of our own and of other software that writes these layouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter of images
import numpy as np
import xxhash
from numpy.typing import NDArray

from forebay.errors import RangeError, StoreError, WireError
from forebay.pulse import PulseRange
from forebay.store.channel_layout import LAYOUTS, ChannelLayout
from forebay.store.channel_manifest import FORMAT, VERSION, ChannelManifest, from_json
from forebay.store.channel_tree import LAYOUT_ATTRIBUTE, MANIFEST
from forebay.store.layout import FORMAT_ATTRIBUTE
from forebay.store.report import Check, Chunk, Found, Layout
from forebay.wire.compress import FILTER, decompress


@dataclass
class ImageChunk(Chunk):
    """A stored image of a channel; `said` is the checksum that its file has for it, or None."""

    channel: str = ""
    said: int | None = None


class ChannelGroup:
    """A channel's group: a group with ``data`` and ``pulse_id``."""

    def __init__(self, group: h5py.Group, layout: ChannelLayout) -> None:
        self.path = str(group.name)
        self.data: h5py.Dataset = group["data"]
        self.n: int = self.data.shape[0]
        names = [column.name for column in layout.columns if column.name in group]
        self.n_rows = {name: group[name].shape[0] for name in names}
        self.absent = [column.name for column in layout.columns if column.name not in group]
        self.pulse_ids = group["pulse_id"][...].reshape(-1).astype(np.int64)
        self.is_present = np.ones(len(self.pulse_ids), bool)
        if "is_data_present" in group and len(group["is_data_present"]) == len(self.is_present):
            self.is_present = group["is_data_present"][...].reshape(-1) != 0
        self.checksum: NDArray[Any] | None = (
            group["checksum"][...].reshape(-1) if "checksum" in group else None
        )

    @property
    def present_ids(self) -> NDArray[np.int64]:
        """Pulse ids of the rows that are values."""
        ids: NDArray[np.int64] = self.pulse_ids[self.is_present]
        return ids


class Channels:
    """An open file of channels."""

    def __init__(self, layout: ChannelLayout, path: Path, file: h5py.File) -> None:
        self.path = path
        self.layout = layout
        self.is_ours = FORMAT_ATTRIBUTE in file.attrs
        self.format = str(file.attrs.get(FORMAT_ATTRIBUTE, ""))
        self.manifest: ChannelManifest | None = None
        self.manifest_error = "The file has no manifest."
        note = file.get(MANIFEST)
        if isinstance(note, h5py.Dataset) and note.shape == ():
            try:
                self.manifest = from_json(note[()])
            except StoreError as error:
                self.manifest_error = str(error)
        self.groups = [ChannelGroup(group, layout) for group in _groups(file, layout)]

    @property
    def requested(self) -> PulseRange | None:
        """The pulses asked for, where the request named them."""
        try:
            return None if self.manifest is None else self.manifest.requested.range
        except RangeError:
            return None


def _groups(file: h5py.File, layout: ChannelLayout) -> Iterator[h5py.Group]:
    root = file.get(f"/{layout.root}")
    for name, group in root.items() if isinstance(root, h5py.Group) else ():
        is_channel = isinstance(group, h5py.Group) and {"data", "pulse_id"} <= set(group)
        if is_channel and name != "general" and all(_is_rows(group[one]) for one in ("data", "pulse_id")):
            yield group


def _is_rows(found: Any) -> bool:
    return isinstance(found, h5py.Dataset) and bool(found.shape)


def _is_mine(layout: ChannelLayout, file: h5py.File) -> bool:
    if FORMAT_ATTRIBUTE in file.attrs:
        is_ours = str(file.attrs[FORMAT_ATTRIBUTE]).startswith(FORMAT)
        return is_ours and file.attrs.get(LAYOUT_ATTRIBUTE) == layout.name
    columns = {column.name for column in layout.columns} - {"timestamp" if layout.root else ""}
    return any(columns <= set(group) for group in _groups(file, layout))


def _check_format(channels: Channels) -> Found:
    expected = f"{FORMAT} {VERSION}"
    if channels.is_ours and channels.format != expected:
        yield "problem", None, f"The format is {channels.format!r}; this software knows {expected!r}."


def _check_manifest(channels: Channels) -> Found:
    manifest = channels.manifest
    if manifest is None:
        text = channels.manifest_error
        yield "problem" if channels.is_ours else "note", None, text
        return
    said = {path: n for account in manifest.channels.values() for path, n in account.groups.items()}
    found = {group.path: group.n for group in channels.groups}
    for path in sorted(said.keys() | found.keys()):
        if said.get(path) != found.get(path):
            yield (
                "problem",
                None,
                f"{path}: the manifest says {said.get(path)} rows, it has {found.get(path)}.",
            )
    for name, account in manifest.channels.items():
        if account.rows != sum(account.groups.values()):
            yield "problem", None, f"Channel {name}: the manifest counts {account.rows} rows."
    for source in manifest.sources.values():
        most = max(found.values(), default=0)
        if most > source.got:
            yield "problem", None, f"{most} rows cannot come of {source.got} messages."


def _check_rows(channels: Channels) -> Found:
    for group in channels.groups:
        for name, n in group.n_rows.items():
            if n != group.n:
                yield "problem", None, f"{group.path}/{name} has {n} rows for {group.n} values."
        for name in group.absent:
            yield "problem" if channels.is_ours else "note", None, f"{group.path} has no {name}."


def _check_present(channels: Channels) -> Found:
    for group in channels.groups:
        if n := int(np.count_nonzero(~group.is_present)):
            severity: Any = "problem" if channels.is_ours else "note"
            yield severity, None, f"{group.path}: {n} of {group.n} rows are no values (is_data_present is 0)."


def _check_pulse_order(channels: Channels) -> Found:
    if channels.layout.is_event_driven:
        return  # their rows are in order of arrival, and a pulse id may not be known
    for group in channels.groups:
        ids = group.present_ids
        for row in np.flatnonzero(np.diff(ids) < 1) + 1:
            yield "problem", int(ids[row]), f"{group.path}: pulse {ids[row]} follows {ids[row - 1]}."


def _check_pulse_range(channels: Channels) -> Found:
    asked = channels.requested
    if asked is None or channels.layout.is_event_driven:
        return  # with values that come as they change go those before and after the range
    for group in channels.groups:
        ids = group.present_ids
        for pulse_id in ids[(ids < asked.first) | (ids > asked.last) | (ids % asked.step != 0)]:
            yield "problem", int(pulse_id), f"{group.path}: pulse {pulse_id} is not one of {asked}."


def _check_missing_pulses(channels: Channels) -> Found:
    for source in channels.manifest.sources.values() if channels.manifest else ():
        for text in source.missing.ranges:
            lost = PulseRange.parse(text)
            yield "loss", lost.first, f"{len(lost)} pulses are missing: {lost}."


def _check_channels(channels: Channels) -> Found:
    for name, account in channels.manifest.channels.items() if channels.manifest else ():
        if not account.rows:
            yield "loss", None, f"Channel {name} has no value."
        elif account.missing.n:
            first = PulseRange.parse(account.missing.ranges[0])
            yield (
                "note",
                first.first,
                f"Channel {name} has no value at {account.missing.n} pulses, first {first}.",
            )


def _check_not_written(channels: Channels) -> Found:
    if channels.manifest is None:
        return
    for source in channels.manifest.sources.values():
        for text in source.not_written.ranges:
            lost = PulseRange.parse(text)
            yield "loss", lost.first, f"{len(lost)} messages came but could not be written: {lost}."
    for name, account in channels.manifest.channels.items():
        if account.refused:
            yield (
                "loss",
                None,
                f"Channel {name}: {account.refused} values could not be read: {account.reason}",
            )


def _check_counters(channels: Channels) -> Found:
    if channels.manifest is None or channels.manifest.closed_by != "recorder":
        return
    counts = channels.manifest.counters.end.recorder
    added = sum(counts.get(name, 0) for name in ("written", "repeated", "not_written", "cut"))
    if counts.get("received") != added:
        yield "problem", None, f"Counters of the recorder: received is {counts.get('received')}, not {added}."
    if repeated := counts.get("repeated"):
        yield "note", None, f"{repeated} messages repeated a pulse id, or went back, and were left out."


def _chunks(channels: Channels, every: int) -> Iterator[Chunk]:
    for group in channels.groups:
        data = group.data
        is_packed = str(FILTER) in data._filters  # noqa: SLF001 - h5py has no public name for it
        if not is_packed or data.chunks != (1, *data.shape[1:]) or len(group.pulse_ids) != group.n:
            continue
        decode = partial(decompress, shape=data.shape[1:], dtype=data.dtype)
        for row in range(0, group.n, every):
            try:
                raw = data.id.read_direct_chunk((row, *(0,) * (data.ndim - 1)))[1]
            except (OSError, RuntimeError):
                raw = b""  # "decompress" says so
            said = None if group.checksum is None or row >= len(group.checksum) else int(group.checksum[row])
            stored = np.frombuffer(raw, np.uint8)
            yield ImageChunk(row, int(group.pulse_ids[row]), stored, decode, group.path, said)


def _check_checksum(channels: Channels, chunk: Any) -> Found:  # noqa: ARG001 - all checks look alike
    found = xxhash.xxh3_64_intdigest(chunk.data.data)
    if chunk.said is not None and chunk.said != found:
        said = f"{chunk.channel}, pulse {chunk.pulse_id}: checksum {found:016x}, not {chunk.said:016x}."
        yield "problem", chunk.pulse_id, said


def _check_decompress(channels: Channels, chunk: Any) -> Found:  # noqa: ARG001 - all checks look alike
    try:
        _ = chunk.pixels
    except WireError as error:
        yield "problem", chunk.pulse_id, f"{chunk.channel}, pulse {chunk.pulse_id}: {error}"


def _rows(channels: Channels) -> list[tuple[str, str]]:
    manifest = channels.manifest
    values = sum(group.n for group in channels.groups)
    rows = [("channels", str(len(channels.groups))), ("values", str(values))]
    if manifest is None:
        return rows
    for name, source in manifest.sources.items():
        rows += [("stream", name), ("asked", str(manifest.requested)), ("expected", str(source.expected))]
        rows += [("got", str(source.got)), ("missing", str(source.missing.n))]
        rows += [("not written", str(source.not_written.n))]
    absent = [name for name, account in manifest.channels.items() if not account.rows]
    if absent:
        rows.append(("without value", ", ".join(absent[:10]) + (" ..." if len(absent) > 10 else "")))
    return [
        *rows,
        ("time", f"{manifest.start_time} to {manifest.end_time}"),
        ("ended", f"{manifest.reason}; closed by {manifest.closed_by} of {manifest.software}"),
    ]


_CHECKS = (
    Check("format", "The format and its version are known.", _check_format),
    Check("manifest", "The manifest is there and agrees with the datasets.", _check_manifest),
    Check("rows", "Every value of a channel has its pulse id, time and other columns.", _check_rows),
    Check("present", "Every row is a value that came.", _check_present),
    Check("pulse-order", "Pulse ids rise from row to row.", _check_pulse_order),
    Check("pulse-range", "Every pulse id is one that was asked for.", _check_pulse_range),
    Check("missing-pulses", "Every pulse that was asked for is there.", _check_missing_pulses),
    Check("channels", "Every channel has values.", _check_channels),
    Check("not-written", "Everything that came was written.", _check_not_written),
    Check("counters", "The counters of every stage add up.", _check_counters),
    Check("checksum", "The stored bytes of each image have their checksum.", None, _check_checksum),
    Check("decompress", "Each image decompresses to its size.", None, _check_decompress),
)

CHANNELS: dict[str, Layout] = {
    layout.name: Layout(
        checks=_CHECKS,
        is_mine=partial(_is_mine, layout),
        open=partial(Channels, layout),
        rows=_rows,
        chunks=_chunks,
    )
    for layout in LAYOUTS.values()
}
"""The layouts of channels, by name."""
