"""The entry of a LArPix file for the experiment's catalogue: ``NAME.json`` beside the file."""

from __future__ import annotations

import zlib
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from forebay.store.larpix_manifest import LarpixManifest, subrun_number
from forebay.store.paths import explain, replace_in_place

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
    start, end = _seconds(manifest.start_time), _seconds(manifest.end_time)
    metadata: dict[str, Any] = {
        "core.application.family": "larpix",
        "core.application.name": "forebay",
        "core.application.version": manifest.software.removeprefix("forebay "),
        "core.data_tier": _TIERS[manifest.form],
        "core.data_stream": manifest.data_stream or "commissioning",
        "core.file_format": "hdf5",
        "core.file_type": "detector",
        "core.file_content_status": "good",
        "core.run_type": namespace,
        "core.start_time": start,
        "core.end_time": end,
        "core.first_event_number": int(start),
        "core.last_event_number": int(end),
        "core.event_count": manifest.rows,
        "retention.class": "rawdata",
        "retention.status": "active",
    }
    if manifest.run is not None:
        metadata["core.runs"] = [manifest.run]
        metadata["core.runs_subruns"] = [subrun_number(manifest.run, manifest.subrun or 1)]
    return {
        "name": path.name,
        "namespace": namespace,
        "size": path.stat().st_size,
        "checksums": {"adler32": checksum(path)},
        "metadata": metadata,
    }


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
        replace_in_place(temporary, beside)
    except OSError as error:
        raise explain(error, f"Cannot write {beside}") from error
    return beside


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
