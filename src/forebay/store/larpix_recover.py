"""A killed recorder's LArPix file is written anew, from the messages in its journal."""

from __future__ import annotations

from pathlib import Path

from forebay.event import Event
from forebay.store import manifest as m
from forebay.store.larpix_file import Account
from forebay.store.larpix_journal import JournalReader, is_larpix_journal
from forebay.store.larpix_tree import open_tree
from forebay.wire.pacman_batch import messages_of

__all__ = ["is_larpix_journal", "rebuild_larpix"]


def rebuild_larpix(temporary: Path, part: Path, journal: Path) -> None:  # noqa: ARG001 - the journal has it all
    """Write the file `temporary` with every block that the journal holds whole.

    Raises
    ------
    forebay.errors.StoreError
        If the journal cannot be read.
    """
    found = JournalReader(journal)
    account = Account()
    tree = open_tree(temporary, found.recording)
    try:
        for one in found:
            if isinstance(one, Event):
                arrays = messages_of(one)
                tree.append(arrays)
                account.add(one, arrays)
            else:
                tree.note(*one)
                account.n_notes += 1
        tree.flush()
        torn = f"; {found.n_torn} journal records were torn" if found.n_torn else ""
        counters = m.Counters(recorder={"written": account.n_blocks, "words_written": account.words})
        manifest = account.manifest(
            found.recording, tree, counters, "recover", f"the recorder was killed{torn}"
        )
        tree.finish(manifest.to_json().decode())
    finally:
        tree.close()
