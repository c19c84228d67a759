"""A killed recorder's file of readouts is written anew, from the rows in its journal."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forebay.store import manifest as m
from forebay.store import readout_layout as layout
from forebay.store.readout_journal import ReadoutJournalReader, is_readout_journal
from forebay.store.readout_tree import ReadoutTree

__all__ = ["is_readout_journal", "rebuild_readouts"]


def rebuild_readouts(temporary: Path, part: Path, journal: Path) -> None:  # noqa: ARG001 - as the others
    """Write the file `temporary` with every readout that the journal holds whole.

    Raises
    ------
    StoreError
        If the journal cannot be read.
    """
    found = ReadoutJournalReader(journal)
    tree = ReadoutTree(temporary, found.recording)
    try:
        for readouts in found:
            tree.make_room(len(readouts))
            tree.add(readouts)
        damage = f"; {found.n_torn} journal records were torn" if found.n_torn else ""
        telescope = None
        if found.recording.generation == "B":
            telescope = np.concatenate([np.empty(0, layout.ROW_TELESCOPE), *found.telescope])
        counters = m.Counters(recorder={"written": tree.n})
        tree.finish(counters, "recover", f"the recorder was killed{damage}", telescope=telescope)
    finally:
        tree.close()
