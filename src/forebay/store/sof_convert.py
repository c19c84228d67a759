"""Containers of SSDAQ 0.9 into those of another version, or into lines of text."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from forebay.store import manifest as m
from forebay.store.paths import check_free, explain, link_in_place, part_of, sync
from forebay.store.sof_file import read_sof
from forebay.store.sof_manifest import manifest_of, write_manifest
from forebay.wire.sof import Compressor, Sof, encode, encode_old


def convert_sof(source: Path, final: Path, compressor: Compressor | None) -> Sof:
    """Write the objects of a container of any version into a new one, and return what was read.

    Objects that are damaged do not go along.

    Parameters
    ----------
    compressor:
        Of version 1; None for version 0.

    Raises
    ------
    StoreError
        If `source` cannot be read or `final` not be written; then there is no `final`.
    WireError
        If `source` is no container.
    """
    found = read_sof(source)
    created_s = found.created_s or int(time.time())
    if compressor is None:
        parts = encode_old(found.objects, found.kind)
    else:
        parts = encode(found.objects, found.kind, compressor, created_s, found.software or m.software())
    _write_whole(final, parts)
    reason = f"converted from {source.name}"
    write_manifest(final, manifest_of(found.kind, found.objects, "convert", reason, n_lost=found.n_damaged))
    return found


def write_lines(source: Path, final: Path, line: Callable[[bytes, int], str]) -> Sof:
    """Write a line for each object of a container into a new text file, and return what was read.

    Raises as `convert_sof`.

    Parameters
    ----------
    line:
        Makes a line, without its end, of an object and the kind of the container's objects.
    """
    found = read_sof(source)
    _write_whole(final, (f"{line(one, found.kind)}\n".encode() for one in found.objects))
    return found


def _write_whole(final: Path, parts: Iterable[bytes]) -> None:
    """Write a file that is whole or not there, over no other."""
    check_free(final)
    part = part_of(final)
    try:
        with part.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        link_in_place(part, final)
        sync(final.parent)
    except OSError as error:
        raise explain(error, f"Cannot write {final}") from error
    finally:
        part.unlink(missing_ok=True)
