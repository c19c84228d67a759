"""What a file is that has no checks of its own, and what to do with it instead."""

from __future__ import annotations

import re
from pathlib import Path

_HEAD_BYTES = 4096
_PCAP = (
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\xc3\xd4",
    b"\x4d\x3c\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x0a\x0d\x0d\x0a",
)
_BY_MAGIC = (
    (
        b"SQLite format 3\0",
        "It is a database, of the catalogue or of requests: check the files that it books.",
    ),
    (
        b"forebay ring 1\n",
        "It is a piece of a ring on disk: retrieve its pulses, and check the file of them.",
    ),
    (b"\x89PNG", "It is a picture: check the file that it was made of."),
)
_SIDE_FILE = re.compile(r"proposal\.json|(run|acq)\d{4,}\.json")


def what_instead(path: Path) -> str:
    """Return what a file is and what to give or do instead; "" if it is nothing that is known."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if path.name.endswith(".part.journal"):
        return f"It is the journal of a recording: forebay recover {path.with_name(path.name[:-8])}"
    if head.startswith(_PCAP):
        return f"It holds datagrams as they came: forebay replay {path} sends them again."
    for magic, said in _BY_MAGIC:
        if head.startswith(magic):
            return said
    return _of_text(path)


def _of_text(path: Path) -> str:
    if path.suffix == ".json":
        beside = path.with_suffix("")
        if beside.suffix in (".sof", ".prt"):
            there = "" if beside.exists() else ", which is not there"
            return f"It says what a container holds, and is checked with that{there}: forebay check {beside}"
        if beside.suffix in (".h5", ".hdf5"):
            return f"It says what stands in the catalogue of a file: forebay check {beside}"
        if _SIDE_FILE.fullmatch(path.name):
            return "It says what the catalogue does of a run or proposal: check the files that it names."
        return "It is JSON: check the file of data that it is about."
    if path.suffix in (".yaml", ".yml"):
        return f"It is a configuration: forebay config check {path}"
    if path.suffix == ".jsonl":
        return "It is a list of lines for people: check the file that it was made of."
    if path.suffix == ".raw":
        return (
            "It begins with no message of readouts or triggers, and other messages cannot be told apart "
            "once they stand one behind the other: let a writer of .sof files write them, and check that."
        )
    return ""
