"""A killed recorder's file of channels is written anew, from the frames in its journal."""

from __future__ import annotations

from pathlib import Path

from forebay.errors import StoreError
from forebay.store import manifest as m
from forebay.store.channel_journal import JournalReader, Stored, is_channel_journal
from forebay.store.channel_tree import ChannelTree
from forebay.store.chunks import Wreck

__all__ = ["is_channel_journal", "rebuild_channels"]


def rebuild_channels(temporary: Path, part: Path, journal: Path) -> None:
    """Write the file `temporary` with every message that the journal holds whole.

    Raises
    ------
    StoreError
        If the journal cannot be read, or names images and the part is gone.
    """
    found = JournalReader(journal)
    wreck = Wreck(part)
    n_damaged = 0
    tree = ChannelTree(temporary, found.recording)
    try:
        for message in found:
            chunks = {
                i: wreck.chunk(one.offset, one.size, one.checksum)
                for i, one in enumerate(message.frames)
                if isinstance(one, Stored)
            }
            if chunks and not part.exists():
                raise StoreError(
                    f"{part} is gone; only its journal is left.", "Put it back, or delete the journal."
                )
            n_damaged += sum(chunk is None for chunk in chunks.values())
            tree.restore(message, chunks)
        counters = m.Counters(recorder={"written": tree.n})
        tree.finish(counters, "recover", _reason(found.n_torn, n_damaged))
    finally:
        tree.close()
        wreck.close()


def _reason(n_torn: int, n_damaged: int) -> str:
    damage = [f"{n_torn} journal records were torn"] if n_torn else []
    damage += [f"{n_damaged} images were damaged"] if n_damaged else []
    return "; ".join(["the recorder was killed", *damage])
