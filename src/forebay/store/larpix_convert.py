"""Raw files of LArPix messages into packet files, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.store import manifest as m
from forebay.store.larpix_file import Account
from forebay.store.larpix_manifest import (
    Board,
    ChipRegisters,
    LarpixManifest,
    LarpixRecording,
    check_recording,
)
from forebay.store.larpix_read import RawFile, RawMessages
from forebay.store.larpix_tree import PacketTree
from forebay.store.paths import check_free, explain, link_in_place, part_of, sync
from forebay.wire.larpix.row import FROM_CHIP
from forebay.wire.larpix.word import format_of
from forebay.wire.pacman_batch import Batch


def convert(
    raw: Path,
    packets: Path,
    *,
    format_version: str = "2.4",
    asic_versions: Mapping[int, str] | None = None,
    asic_version: str = "2",
    direction: int = FROM_CHIP,
    chips: Sequence[ChipRegisters] = (),
    block: int = 65536,
) -> LarpixManifest:
    """Write the packets of a raw file into a new packet file, in the order of the messages.

    A failure leaves nothing behind.

    Parameters
    ----------
    asic_versions:
        Io group -> version of its chips; `asic_version` for all others.
    direction:
        Of words from chips; larpix-control's converter writes 0 (`TO_CHIP`).
    chips:
        Configurations to write beside the packets.
    block:
        Messages at a time.

    Raises
    ------
    forebay.errors.StoreError
        If one cannot be read or the other not written.
    forebay.errors.ConfigError
        If there is no such format version.
    """
    versions = dict(asic_versions or {})
    check_free(packets)
    part = part_of(packets)
    with RawFile(raw) as source:
        groups = np.unique(source.file["msg_headers"]["io_groups"]).tolist()
        recording = LarpixRecording(
            format_version=format_version,
            boards={f"io_group_{group}": Board(group, versions.get(group, asic_version)) for group in groups},
            configuration={"converted_from": raw.name},
            start_time=m.now(),
            chips=tuple(chips),
            daq_configs=source.daq_configs,
        )
        check_recording(recording)
        try:
            tree = PacketTree(part, recording)
            try:
                manifest = _fill(tree, source, recording, direction, block)
            finally:
                tree.close()
            link_in_place(part, packets)
        except (OSError, RuntimeError) as error:
            raise explain(error, f"Cannot convert {raw} to {packets}") from error
        finally:
            part.unlink(missing_ok=True)
    sync(packets.parent)
    return manifest


def _fill(
    tree: PacketTree, source: RawFile, recording: LarpixRecording, direction: int, block: int
) -> LarpixManifest:
    account = Account()
    versions = {board.io_group: board.asic_version for board in recording.boards.values()}
    for messages in source.blocks(block):
        for stretch in _stretches(messages, versions):
            word_format = format_of(versions[int(stretch.io_groups[0])])
            batch = Batch(stretch.data, stretch.lengths)
            groups = stretch.io_groups[batch.is_good]
            tree.append_rows(*batch.rows(groups, word_format, kind=tree.kind, direction=direction))
        for name, board in recording.boards.items():
            own = messages.of_group(board.io_group, board.asic_version)
            account.add_messages(name, own)
    tree.flush()
    manifest = account.manifest(recording, tree, m.Counters(), "recorder", "converted")
    tree.finish(manifest.to_json().decode())
    return manifest


def _stretches(messages: RawMessages, versions: Mapping[int, str]) -> list[RawMessages]:
    """Return neighbouring messages together as far as their words have the same format."""
    if not messages.lengths.size:
        return []
    formats = {version: i for i, version in enumerate(sorted(set(versions.values())))}
    table = np.zeros(256, np.int64)
    for group, version in versions.items():
        table[group] = formats[version]
    cuts: NDArray[np.int64] = np.flatnonzero(np.diff(table[messages.io_groups])) + 1
    ends = np.cumsum(messages.lengths)
    parts = zip(
        np.split(messages.data, ends[cuts - 1]),
        np.split(messages.lengths, cuts),
        np.split(messages.io_groups, cuts),
        strict=True,
    )
    return [RawMessages(*part) for part in parts]
