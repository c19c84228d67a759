"""The entry of a LArPix file for the experiment's catalogue: ``NAME.json`` beside the file."""

from __future__ import annotations

import zlib
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from forebay.store.larpix_manifest import LarpixManifest
from forebay.store.paths import explain, sync

_BLOCK = 4 * 2**20
_TIERS = {"raw": "raw", "packets": "decoded-raw"}


def checksum(path: Path) -> str:
    """Return the adler32 of a file, eight hexadecimal digits, as catalogues of its field have it."""
    value = 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.adler32(block, value)
    return f"{value:08x}"


def entry(path: Path, manifest: LarpixManifest, namespace: str) -> dict[str, Any]:
    """Return what a catalogue wants to know of a closed file."""
    metadata: dict[str, Any] = {
        "core.data_tier": _TIERS[manifest.form],
        "core.data_stream": manifest.data_stream,
        "core.file_format": "hdf5",
        "core.file_type": "detector",
        "core.start_time": _seconds(manifest.start_time),
        "core.end_time": _seconds(manifest.end_time),
        "core.event_count": manifest.rows,
    }
    if manifest.run is not None:
        metadata["core.runs"] = [manifest.run]
        subrun = subrun_number(manifest.run, manifest.subrun or 1)
        metadata["core.runs_subruns"] = [subrun]
    return {
        "name": path.name,
        "namespace": namespace,
        "size": path.stat().st_size,
        "checksums": {"adler32": checksum(path)},
        "metadata": metadata,
    }


def subrun_number(run: int, subrun: int) -> int:
    """Return the number of a subrun that no other run has; subruns count from 1."""
    return 10_000 * run + subrun


def write_entry(path: Path, manifest: LarpixManifest, namespace: str) -> Path:
    """Write the entry beside a closed file and return its path.

    Raises
    ------
    forebay.errors.StoreError
        If the system refuses.
    """
    beside = path.with_name(f"{path.name}.json")
    temporary = beside.with_name(f"{beside.name}.part")
    try:
        temporary.write_bytes(
            msgspec.json.format(msgspec.json.encode(entry(path, manifest, namespace)), indent=1)
        )
        sync(temporary)
        temporary.replace(beside)
        sync(beside.parent)
    except OSError as error:
        raise explain(error, f"Cannot write {beside}") from error
    return beside


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
