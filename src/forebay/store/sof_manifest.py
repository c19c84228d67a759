"""What a ``.sof`` file says of itself, in a file beside it: the container has no room for it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from forebay.errors import StoreError
from forebay.store import manifest as m
from forebay.store.paths import explain, replace_in_place

FORMAT = "forebay-sof"
VERSION = 1


class SofManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a container.

    Attributes
    ----------
    source:
        Where the objects came from.
    counters:
        ``received = written + not_written``, objects; ``bytes`` of those written.
    closed_by, reason:
        ``writer``, ``recover`` or ``convert``, and why.
    """

    format: str = FORMAT
    version: int = VERSION
    software: str
    kind: int
    source: str = ""
    start_time: str = ""
    end_time: str
    counters: dict[str, int]
    closed_by: str
    reason: str


def manifest_path(final: Path) -> Path:
    """Return where the manifest of a container is."""
    return final.with_name(final.name + ".json")


def write_manifest(final: Path, manifest: SofManifest) -> None:
    """Write the manifest beside its container; it takes the place of one of a container that is gone.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    path = manifest_path(final)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        replace_in_place(part, path)
    except OSError as error:
        raise explain(error, f"Cannot write {path}") from error


def read_manifest(final: Path) -> SofManifest | None:
    """Return the manifest of a container, None if there is none.

    Raises
    ------
    StoreError
        If it cannot be read, or is of another version.
    """
    try:
        text = manifest_path(final).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, f"Cannot read {manifest_path(final)}") from error
    try:
        found = msgspec.json.decode(text, type=SofManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"The manifest {manifest_path(final)} cannot be read: {error}.") from error
    if (found.format, found.version) != (FORMAT, VERSION):
        raise StoreError(f"The manifest is {found.format} {found.version}, not {FORMAT} {VERSION}.")
    return found


def manifest_of(
    kind: int, objects: list[bytes], closed_by: str, reason: str, *, n_lost: int = 0, start_time: str = ""
) -> SofManifest:
    """Return the manifest of a container that was made of another one."""
    counters = {
        "received": len(objects) + n_lost,
        "written": len(objects),
        "not_written": n_lost,
        "bytes": sum(map(len, objects)),
    }
    return SofManifest(
        software=m.software(),
        kind=kind,
        start_time=start_time,
        end_time=m.now(),
        counters=counters,
        closed_by=closed_by,
        reason=reason,
    )
