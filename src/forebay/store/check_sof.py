"""The checks of a ``.sof`` container: every bunch is walked, every object's checksum looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from forebay.errors import StoreError, WireError
from forebay.store.report import MAX_PROBLEMS, Problem, Report, Severity
from forebay.store.sof_file import read_sof
from forebay.store.sof_manifest import SofManifest, read_manifest
from forebay.wire import cdts, sof, trigger
from forebay.wire.frame import check_frame

CHECKS: Mapping[str, str] = {
    "bunches": "Every byte is part of a bunch, and the file ends with one.",
    "links": "Every bunch says where the one before begins: the original's readers go by that.",
    "object-checksums": "Every object has its checksum.",
    "sof-manifest": "The manifest beside a container agrees with it.",
    "sof-not-written": "Everything that came was written.",
    "objects": "Every object is what the file says that its objects are.",
}
"""Name -> description."""

_READ: Mapping[int, Callable[[bytes], object]] = {
    sof.Kind.LOG: lambda data: cdts.decode(cdts.LOG, data),
    sof.Kind.TIMESTAMP: lambda data: cdts.decode(cdts.TRIGGER_MESSAGE, data),
    sof.Kind.TRIGGER: trigger.type_of,
    sof.Kind.FRAME: check_frame,
}
_SUFFIXES = (".sof", ".prt")

Found = Iterator[tuple[Severity, str]]


def is_sof(path: Path) -> bool:
    """Whether a file is a container, as far as its name or its first bytes say."""
    if path.suffix in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return sof.is_new(file.read(4))
    except OSError:
        return False


def check_sof(path: Path, skip: Collection[str], opened: list[str]) -> Report:
    """Check one container; `opened` are the names of the checks that come before these."""
    try:
        found = read_sof(path)
    except (StoreError, WireError) as error:
        return Report(str(path), "", [], [Problem("layout", "problem", str(error))], opened, [])
    manifest, manifest_error = None, ""
    try:
        manifest = read_manifest(path)
    except StoreError as error:
        manifest_error = str(error)
    run: Mapping[str, Callable[[sof.Sof], Found]] = {
        "bunches": _check_bunches,
        "links": _check_links,
        "object-checksums": _check_checksums,
        "sof-manifest": lambda found: _check_manifest(found, manifest, manifest_error),
        "sof-not-written": lambda _: _check_not_written(manifest),
        "objects": _check_objects,
    }
    names = [name for name in CHECKS if name not in skip]
    problems = [Problem(name, severity, message) for name in names for severity, message in run[name](found)]
    return Report(str(path), "sof", _rows(found, manifest), problems, opened + names, sorted(skip))


def _rows(found: sof.Sof, manifest: SofManifest | None) -> list[tuple[str, str]]:
    kinds = {one.value: one.name.lower() for one in sof.Kind}
    rows = [
        ("objects", str(len(found.objects))),
        ("kind", kinds.get(found.kind, str(found.kind))),
        ("container", f"SSDAQ's .sof, version {found.version}"),
    ]
    if found.version:
        packed = sof.Compressor(found.compressor).name.lower()
        rows += [("bunches", f"{len(found.bunches)}, compression {packed}"), ("software", found.software)]
    if manifest is not None:
        rows += [
            ("source", manifest.source or "unknown"),
            ("time", f"{manifest.start_time or 'unknown'} to {manifest.end_time}"),
            ("ended", f"{manifest.reason}; closed by {manifest.closed_by} of {manifest.software}"),
        ]
    return rows


def _check_manifest(found: sof.Sof, manifest: SofManifest | None, error: str) -> Found:
    if error:
        yield "problem", error
    elif manifest is None:
        if found.software.startswith("forebay"):
            yield "note", "There is no manifest beside it: nothing says what came and was not written."
    else:
        counters = manifest.counters
        is_there = {
            "kind": (manifest.kind, found.kind),
            "objects": (counters.get("written"), len(found.objects) + found.n_damaged),
        }
        for what, (said, has) in is_there.items():
            if said != has:
                yield "problem", f"The manifest says {what}: {said}; the file has {has}."
        if counters.get("received") != counters.get("written", 0) + counters.get("not_written", 0):
            yield (
                "problem",
                f"Counters of the manifest do not add up: received is {counters.get('received')}.",
            )


def _check_not_written(manifest: SofManifest | None) -> Found:
    n = manifest.counters.get("not_written", 0) if manifest is not None else 0
    if n:
        yield "loss", f"{n} objects came but are not in the file."


def _check_bunches(found: sof.Sof) -> Found:
    if found.is_whole:
        return
    kept = "forebay camera convert-sof writes them into a new file" if found.objects else "nothing is left"
    said = f"{len(found.objects)} objects can be read; {kept}"
    if found.n_lost_bytes:
        yield (
            "problem",
            f"{found.n_lost_bytes} bytes are part of no bunch: it was cut short or damaged. {said}.",
        )
    else:
        yield "problem", f"It ends inside its header. {said}."


def _check_links(found: sof.Sof) -> Found:
    n = sum(not bunch.is_linked for bunch in found.bunches)
    if n:
        yield "problem", f"{n} bunches do not say where the one before begins."


def _check_checksums(found: sof.Sof) -> Found:
    for i, bunch in enumerate(found.bunches):
        if bunch.n_damaged:
            yield "problem", f"{bunch.n_damaged} of the {bunch.n} objects of bunch {i} lack their checksum."
    if found.n_damaged and not found.bunches:
        yield "problem", f"{found.n_damaged} objects lack their checksum."


def _check_objects(found: sof.Sof) -> Found:
    read = _READ.get(found.kind)
    if read is None:
        yield "note", f"It holds objects of kind {found.kind}, which is not known here."
        return
    n = 0
    for i, one in enumerate(found.objects):
        try:
            read(one)
        except WireError as error:
            n += 1
            if n <= MAX_PROBLEMS:
                yield "note", f"Object {i} is not what it should be, and was written as it came: {error}"
