"""A killed recorder's part becomes a good file, with every image and message whose writing had ended."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.store import manifest as m
from forebay.store.channel_recover import is_channel_journal, rebuild_channels
from forebay.store.chunks import Wreck
from forebay.store.journal import HeadlessError, Journalled, read_journal
from forebay.store.larpix_recover import is_larpix_journal, rebuild_larpix
from forebay.store.layout import ImageLayout, build_manifest
from forebay.store.paths import explain, final_of, journal_of, link_in_place, part_of, sync
from forebay.store.readout_recover import is_readout_journal, rebuild_readouts
from forebay.store.sof_file import recover_sof


def recover(path: Path) -> Path:
    """Make the file that a killed recorder was writing, and return its path.

    May be repeated, also after having been killed itself. The part and its journal go only when the
    file is in its place.

    Parameters
    ----------
    path:
        The ``.part`` (or its journal).

    Raises
    ------
    StoreError
        If a recorder is still writing it, nothing was written, another file has the final name, or the
        system refuses.
    """
    final = final_of(path)
    part = part_of(final)
    if final.suffix == ".sof":
        return recover_sof(part)
    journal = journal_of(part)
    if not journal.exists():
        return _without_journal(final, part)
    try:
        with _locked(journal):
            if not _is_done(final, part):
                _rebuild(final, part, journal)
            part.unlink(missing_ok=True)
            _temporary(part).unlink(missing_ok=True)  # after the part: it tells whose the file is
            journal.unlink()
            sync(final.parent)
    except (OSError, RuntimeError) as error:
        raise explain(error, f"Cannot recover {part}") from error
    return final


def _temporary(part: Path) -> Path:
    return part.with_name(part.name + ".recovered")


def _without_journal(final: Path, part: Path) -> Path:
    if part.exists():
        raise StoreError(
            f"{part} has no journal beside it, so that its images cannot be found.",
            f"Put {journal_of(part).name} back beside it, or delete the part.",
        )
    if not final.exists():
        raise StoreError(f"There is no {part} to recover.", "Name the file that ends in .part.")
    return final


@contextmanager
def _locked(journal: Path) -> Iterator[None]:
    with journal.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{journal} is in use: a recorder is still writing, or recovering, this file.",
                "Wait for it to end, or stop it.",
            ) from error
        yield


def _is_done(final: Path, part: Path) -> bool:
    """Whether the final file is ours already, and only cleaning up is left."""
    if not final.exists():
        return False
    if not part.exists() or any(p.exists() and p.samefile(final) for p in (part, _temporary(part))):
        return True
    raise StoreError(
        f"The file {final} exists and is not made of {part}; files are never overwritten.",
        f"Move {final} away, then run: forebay recover {part}",
    )


def _rebuild(final: Path, part: Path, journal: Path) -> None:
    rebuild = _rebuild_images
    if is_channel_journal(journal):
        rebuild = rebuild_channels
    elif is_larpix_journal(journal):
        rebuild = rebuild_larpix
    elif is_readout_journal(journal):
        rebuild = rebuild_readouts
    temporary = _temporary(part)
    temporary.unlink(missing_ok=True)
    try:
        rebuild(temporary, part, journal)
    except HeadlessError as error:
        if part.exists():
            raise StoreError(f"The journal {journal} is cut short before its first record.") from error
        journal.unlink()
        raise StoreError(
            f"The recording of {final} ended before it began; its empty journal was removed.",
            "The name can be used again.",
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    link_in_place(temporary, final)


def _rebuild_images(temporary: Path, part: Path, journal: Path) -> None:
    found = read_journal(journal)
    if len(found.records) and not part.exists():
        raise StoreError(f"{part} is gone; only its journal is left.", "Put it back, or delete the journal.")
    layout = ImageLayout(temporary, found.recording)
    try:
        good = _copy(part, found.records, layout)
        records = found.records if len(good) == len(found.records) else found.records[good]
        reason = _reason(found, len(found.records) - len(good))
        layout.finish(records, build_manifest(found.recording, records, m.Counters(), "recover", reason))
    finally:
        layout.close()


def _copy(part: Path, records: NDArray[np.void], layout: ImageLayout) -> NDArray[np.int64]:
    """Copy every chunk that is what its record says, and return the rows of those records."""
    good = []
    wreck = Wreck(part)
    try:
        for row, record in enumerate(records):
            chunk = wreck.chunk(int(record["offset"]), int(record["size"]), int(record["checksum"]))
            if chunk is not None:
                layout.append(chunk)
                good.append(row)
    finally:
        wreck.close()
    return np.array(good, np.int64)


def _reason(found: Journalled, n_damaged: int) -> str:
    damage = [f"{found.n_torn} journal records were torn"] if found.n_torn else []
    damage += [f"{n_damaged} images were damaged"] if n_damaged else []
    return "; ".join(["the recorder was killed", *damage])
