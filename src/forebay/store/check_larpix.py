"""The checks of LArPix files, packets and raw, ours and larpix-control's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from forebay.errors import StoreError
from forebay.pulse import PulseRange
from forebay.store import larpix_manifest as lm
from forebay.store.larpix_read import PacketFile, RawFile, RawMessages, modern
from forebay.store.report import Check, Chunk, Found, Layout
from forebay.wire.larpix.row import TIMESTAMP, VERSIONS
from forebay.wire.pacman_account import BoardAccount

_READ_VERSIONS = ("0.0", *VERSIONS)
_BLOCK = 64


class LarpixContent:
    """An open file and its manifest; None where it has none, as files of larpix-control."""

    def __init__(self, form: lm.Form, path: Path, file: h5py.File) -> None:
        self.form = form
        self.opened: PacketFile | RawFile = PacketFile(path) if form == "packets" else RawFile(path)
        own = file.get("forebay")
        self.is_ours = own is not None
        self.manifest: lm.LarpixManifest | None = None
        self.manifest_error = ""
        self.checksums = np.zeros(0, np.uint64)
        if own is not None:
            try:
                self.manifest = lm.from_json(own["manifest"][()])
                self.checksums = own["checksums"][:]
            except (StoreError, KeyError) as error:
                self.manifest_error = str(error)

    def chunks(self) -> Iterator[tuple[int, Any]]:
        """Yield the number of each stretch that has a checksum, and its rows or messages."""
        step = lm.CHUNK_ROWS if self.form == "packets" else lm.CHUNK_MESSAGES
        for first in range(0, len(self.opened), step * _BLOCK):
            opened = self.opened
            if isinstance(opened, PacketFile):
                rows = opened.stored(first, min(first + step * _BLOCK, len(opened)))
                for start in range(0, len(rows), step):
                    yield (first + start) // step, rows[start : start + step]
            else:
                messages = opened.read(first, first + step * _BLOCK)
                ends = np.cumsum(messages.lengths)
                for start in range(0, len(messages.lengths), step):
                    own = slice(start, start + step)
                    data = messages.data[ends[start] - messages.lengths[start] : ends[own][-1]]
                    yield (
                        (first + start) // step,
                        RawMessages(data, messages.lengths[own], messages.io_groups[own]),
                    )


def _is_mine(form: lm.Form, file: h5py.File) -> bool:
    if form == "raw":
        return "msgs" in file and "meta" in file
    return "_header" in file and ("packets" in file or "raw_packet" in file)


def _check_format(content: LarpixContent) -> Found:
    version = content.opened.version
    known = _READ_VERSIONS if content.form == "packets" else ("0.0",)
    if version not in known:
        yield "problem", None, f"Its version is {version!r}; known are {', '.join(known)}."
    if content.form == "packets" and isinstance(content.opened, PacketFile):
        stored = content.opened.dataset.dtype.names or ()
        if lacking := [name for name in ("timestamp", "parity", "valid_parity") if name not in stored]:
            yield "problem", None, f"The packets have no column {lacking[0]}."
    elif len(content.opened.file["msg_headers"]) != len(content.opened):
        yield "problem", None, "There is not one header for each message."


def _check_manifest(content: LarpixContent) -> Found:
    manifest = content.manifest
    if not content.is_ours:
        yield "note", None, "It was not written by forebay: nothing says what it should hold."
    elif manifest is None:
        yield "problem", None, f"The manifest cannot be read: {content.manifest_error}"
    elif manifest.rows != len(content.opened):
        yield "problem", None, f"The manifest says {manifest.rows} rows, there are {len(content.opened)}."


def _check_words(content: LarpixContent) -> Found:
    """Count again, with the writer's own logic, what the manifest says of each board."""
    boards = content.manifest.boards if content.manifest is not None else {}
    opened = content.opened
    if isinstance(opened, PacketFile):
        if content.manifest is None:
            return
        n_words = sum(
            int(np.count_nonzero(modern(rows)["packet_type"] < TIMESTAMP)) for _, rows in content.chunks()
        )
        said = sum(board.counters["data_words"] for board in boards.values())
        if n_words != said:
            yield "problem", None, f"There are {n_words} packets of chips; the manifest says {said}."
        return
    versions = {board.io_group: board.asic_version for board in boards.values()}
    found = {group: BoardAccount() for group in versions}
    for messages in opened.blocks(_BLOCK * lm.CHUNK_MESSAGES):
        for group in np.unique(messages.io_groups).tolist():
            own = messages.of_group(group, versions.get(group, "2"))
            found.setdefault(group, BoardAccount()).add(own.batch, own.word_format)
    for group, account in found.items():
        if n := account.counters["malformed"]:
            yield "problem", None, f"Io group {group}: {n} messages cannot be read."
        for board in boards.values():
            for name, count in account.counters.items():
                if board.io_group == group and name != "malformed" and board.counters[name] != count:
                    yield "problem", None, f"Io group {group}: {name} is {count}, not {board.counters[name]}."


def _check_blocks(content: LarpixContent) -> Found:
    if content.manifest is None:
        return
    for name, source in content.manifest.sources.items():
        for text in source.not_written.ranges:
            lost = PulseRange.parse(text)
            yield "loss", lost.first, f"{name}: {len(lost)} blocks came but could not be written: {lost}."
        for text in source.missing.ranges if source.missing.n > source.not_written.n else ():
            lost = PulseRange.parse(text)
            yield "loss", lost.first, f"{name}: {len(lost)} blocks are missing: {lost}."


def _check_boards(content: LarpixContent) -> Found:
    for name, board in content.manifest.boards.items() if content.manifest is not None else ():
        counters = board.counters
        if not counters["messages"]:
            yield "note", None, f"{name}: nothing came of io group {board.io_group}."
        if n := counters["malformed"]:
            yield "loss", None, f"{name}: {n} messages came that could not be read."
        if n := counters["miscounted"]:
            yield "loss", None, f"{name}: {n} messages have another number of words than they say."
        if n := counters["sync_gaps"]:
            yield "loss", None, f"{name}: no sync in {n} seconds."
        for key, said in (
            ("parity_errors", "words have a wrong parity"),
            ("clock_resets", "syncs came while the clock of the board was not at a whole second"),
            ("clock_switches", "changes of the clock's source"),
        ):
            if n := counters[key]:
                yield "note", None, f"{name}: {n} {said}."


def _check_counters(content: LarpixContent) -> Found:
    manifest = content.manifest
    if manifest is None or manifest.closed_by != "recorder":
        return
    for name, own in manifest.counters.difference.receiver.items():
        if n := own.get("full_queues"):
            yield "note", None, f"{name}: its queue was full, perhaps, {n} times; it then drops messages."
        if n := own.get("disconnections"):
            yield "note", None, f"{name} was lost {n} times; what it sent before it was back is missing."
        if own.get("no_end"):
            yield "loss", None, f"No end of the run came from {name}: what it sent last may be missing."
        if n := own.get("messages_missing"):
            yield "loss", None, f"{n} messages of producers never came to the storage."
    counts = manifest.counters.end.recorder
    for prefix in ("", "words_"):
        received = counts.get(f"{prefix}received", 0)
        added = counts.get(f"{prefix}written", 0) + counts.get(f"{prefix}not_written", 0)
        if received != added:
            yield "problem", None, f"Counters of the recorder: {prefix}received is {received}, not {added}."
    if n := counts.get("words_not_written"):
        yield "loss", None, f"{n} words came and are not in the file."
    boards = [board.counters for board in manifest.boards.values()]
    if counts and counts.get("words_written", 0) != sum(one["words"] for one in boards):
        yield "problem", None, "The words written are not those of the boards."


def _check_checksum(content: LarpixContent) -> Found:
    if not content.is_ours:
        return
    n = -1
    for n, chunk in content.chunks():
        data = chunk.data if isinstance(chunk, RawMessages) else np.ascontiguousarray(chunk).view(np.uint8)
        if n < len(content.checksums) and xxhash.xxh3_64_intdigest(data.data) != int(content.checksums[n]):
            yield "problem", None, f"Stretch {n} of the file does not have its checksum."
    if n + 1 != len(content.checksums):
        yield "problem", None, f"There are {len(content.checksums)} checksums for {n + 1} stretches."


def _rows(content: LarpixContent) -> list[tuple[str, str]]:
    manifest = content.manifest
    rows = [("format", content.opened.version), ("rows", str(len(content.opened)))]
    if manifest is None:
        return rows
    if manifest.run is not None:
        subrun = "" if manifest.subrun is None else f", subrun {manifest.subrun}"
        rows.append(("run", f"{manifest.run}{subrun}"))
    for name, board in manifest.boards.items():
        counters = board.counters
        rows.append((f"words of {name}", f"{counters['words']} in {counters['messages']} messages"))
    counts = manifest.counters.end.recorder
    return [
        *rows,
        ("words not written", str(counts.get("words_not_written", 0))),
        ("time", f"{manifest.start_time} to {manifest.end_time}"),
        ("ended", f"{manifest.reason}; closed by {manifest.closed_by} of {manifest.software}"),
    ]


def _no_chunks(_content: LarpixContent, _every: int) -> Iterator[Chunk]:
    return iter(())


_CHECKS = (
    Check("format", "The format and its version are known.", _check_format),
    Check("manifest", "The manifest is there and agrees with the datasets.", _check_manifest),
    Check("words", "Every word that was counted is there.", _check_words),
    Check("blocks", "Every block of messages that came is there.", _check_blocks),
    Check("boards", "The boards sent whole messages, and a sync each second.", _check_boards),
    Check("counters", "The counters of every stage add up.", _check_counters),
    Check("checksum", "Each stretch of the file has its checksum.", _check_checksum),
)


def _layout(form: lm.Form) -> Layout:
    return Layout(
        checks=_CHECKS,
        is_mine=partial(_is_mine, form),
        open=partial(LarpixContent, form),
        rows=_rows,
        chunks=_no_chunks,
    )


LARPIX: dict[str, Layout] = {"larpix-packets": _layout("packets"), "larpix-raw": _layout("raw")}
"""The layouts of LArPix files, by name."""
