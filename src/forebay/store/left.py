"""What a recorder that died left behind, and which job it was working for."""

from __future__ import annotations

import fcntl
from pathlib import Path

import h5py
import numpy as np

from forebay.errors import StoreError
from forebay.store import channel_journal, channel_manifest, larpix_manifest, readout_layout
from forebay.store.channel_journal import is_channel_journal
from forebay.store.channel_manifest import ChannelManifest
from forebay.store.channel_tree import MANIFEST
from forebay.store.journal import HeadlessError, read_journal
from forebay.store.larpix_journal import JournalReader, is_larpix_journal
from forebay.store.larpix_manifest import LarpixManifest
from forebay.store.manifest import Manifest, from_json
from forebay.store.paths import explain, journal_of, part_of
from forebay.store.readout_journal import ReadoutJournalReader
from forebay.store.readout_layout import ReadoutManifest


class NoManifestError(StoreError):
    """A file has no manifest of the kind that was looked for."""


def manifest_of(path: Path) -> Manifest:
    """Return what a file of images or channels says of itself; `StoreError` if it cannot, or says nothing."""
    try:
        return channel_manifest.from_json(_text_of(path, MANIFEST))
    except NoManifestError:
        return from_json(_text_of(path, "entry/manifest/data"))


def manifest_of_stream(path: Path) -> ReadoutManifest | LarpixManifest:
    """Return what a file of readouts or of LArPix data says of itself; `StoreError` as `manifest_of`."""
    text = _text_of(path, readout_layout.MANIFEST)
    try:
        return readout_layout.from_json(text)
    except StoreError:
        return larpix_manifest.from_json(text)


def stream_part_left(final: Path) -> tuple[str, bool] | None:
    """Return the job for which a part of readouts or LArPix data was written, and whether any are in it.

    None without a part, or where its journal has no first record.
    """
    journal = journal_of(part_of(final))
    try:
        reader = JournalReader(journal) if is_larpix_journal(journal) else ReadoutJournalReader(journal)
    except (FileNotFoundError, HeadlessError):
        return None
    return reader.recording.requested.job, next(iter(reader), None) is not None


def _text_of(path: Path, where: str) -> bytes | str:
    try:
        with h5py.File(path, "r") as file:
            note = file.get(where)
            text = note[()] if isinstance(note, h5py.Dataset) else None
    except (OSError, RuntimeError) as error:
        raise explain(error, f"Cannot read {path}") from error
    if not isinstance(text, bytes | str):
        raise NoManifestError(f"The file {path} has no manifest.")
    return text


def ends_of(path: Path) -> tuple[int, int] | None:
    """Return the first and the last pulse id in a file of images or channels; None if it has none."""
    manifest = manifest_of(path)
    groups = ["entry/data"]
    if isinstance(manifest, ChannelManifest):
        groups = [group for channel in manifest.channels.values() for group in channel.groups]
    try:
        with h5py.File(path, "r") as file:
            columns = [file[f"{group}/pulse_id"] for group in groups]
            ends = [int(np.ravel(ids[i])[0]) for ids in columns if len(ids) for i in (0, -1)]
    except (OSError, RuntimeError, KeyError) as error:
        raise explain(error, f"Cannot read {path}") from error
    return (min(ends), max(ends)) if ends else None


def part_left(final: Path) -> tuple[str, bool] | None:
    """Return the job for which a part of images or channels was written, and whether any are in it.

    None without a part. A journal without its first record is nobody's: nothing was written behind it.
    """
    journal = journal_of(part_of(final))
    try:
        if is_channel_journal(journal):
            channels = channel_journal.JournalReader(journal)
            return channels.recording.requested.job, next(iter(channels), None) is not None
        images = read_journal(journal)
    except (FileNotFoundError, HeadlessError):
        return None
    return images.recording.requested.job, len(images.records) > 0


def is_unbegun(final: Path) -> bool:
    """Whether a recorder of `final` made an empty journal and nothing else: it begins just now, or died."""
    part = part_of(final)
    journal = journal_of(part)
    return not part.exists() and journal.exists() and not journal.stat().st_size


def throw_away(final: Path) -> None:
    """Remove the part of `final` and its journal, the part first: a journal alone is no file.

    Raises
    ------
    StoreError
        If a recorder is still writing it.
    """
    part = part_of(final)
    with journal_of(part).open("rb") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{part} is still being written.", "Wait for its recorder to end.") from error
        part.unlink(missing_ok=True)
        journal_of(part).unlink()
