"""Where files may lie and how they come into being: inside their folder, whole, never over another."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from forebay.errors import StoreError
from forebay.store.group import make_shared, share


def contained(root: Path, name: str) -> Path:
    """Return the absolute path of `name` below `root`, symbolic links resolved.

    Nothing needs to exist yet.

    Raises
    ------
    StoreError
        If the name is empty or absolute, has ``..`` in it, or a symbolic link leads out of `root`.
    """
    allowed = f"Give a relative path below {root}."
    parts = Path(name).parts
    if not parts or "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise StoreError(f"The file name {name!r} is not a relative path without '..'.", allowed)
    try:
        base = root.resolve()
        path = (base / name).resolve()
        if any(one.is_symlink() for one in (path, *path.parents)):
            raise RuntimeError("symbolic links lead in a circle")  # newer Pythons do not say so
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"The file name {name!r} below {root} cannot be followed: {error}.", allowed
        ) from error
    if base == path or not path.is_relative_to(base):
        raise StoreError(f"The file name {name!r} leads to {path}, outside {base}.", allowed)
    return path


def part_of(final: Path) -> Path:
    """Return the name under which the file `final` is written."""
    return final.with_name(final.name + ".part")


def journal_of(part: Path) -> Path:
    """Return the name of the journal beside a part."""
    return part.with_name(part.name + ".journal")


def final_of(part: Path) -> Path:
    """Return the file that a part or a part's journal is to become; `StoreError` if it is neither."""
    name = part.name.removesuffix(".journal")
    if not name.endswith(".part") or name == ".part":
        raise StoreError(f"{part} is not a file in the making.", "Name the file that ends in .part.")
    return part.with_name(name.removesuffix(".part"))


def check_free(final: Path) -> None:
    """Find out whether `final` can be written, before any work starts.

    Raises
    ------
    StoreError
        If the directory is missing, the file exists, or an earlier attempt was left behind.
    """
    if not final.parent.is_dir():
        raise StoreError(f"The directory {final.parent} does not exist.", "Create it, or name another.")
    if os.path.lexists(final):
        raise StoreError(f"The file {final} exists; files are never overwritten.", "Give another name.")
    part = part_of(final)
    for left in (part, journal_of(part)):
        if os.path.lexists(left):
            raise StoreError(
                f"{left} was left by a recording that did not end, or that is still running.",
                f"Run: forebay recover {part}",
            )


def make_folder(directory: Path) -> None:
    """Make a folder and those above it, where they are not there; `StoreError` if that cannot be."""
    try:
        make_shared(directory)
    except OSError as error:
        raise explain(error, f"Cannot make the folder {directory}") from error


def sync(path: Path) -> None:
    """Return once a file, or the names in a directory, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def link_in_place(temporary: Path, final: Path) -> None:
    """Give a closed file its final name beside the temporary one, durably, and never over another file.

    Raises
    ------
    StoreError
        If `final` exists.
    """
    sync(temporary)
    share(temporary)
    try:
        os.link(temporary, final)
    except FileExistsError as error:
        raise StoreError(
            f"The file {final} has appeared meanwhile; files are never overwritten.",
            f"Move it away, then run: forebay recover {part_of(final)}",
        ) from error
    sync(final.parent)


def replace_in_place(temporary: Path, final: Path) -> None:
    """Give a closed file its final name beside the temporary one, durably, instead of one that has it."""
    sync(temporary)
    share(temporary)
    temporary.replace(final)
    sync(final.parent)


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_REMEDIES = {
    errno.ENOSPC: "Free some space on this disk, or write to another.",
    errno.EDQUOT: "Your quota is used up: remove files or ask for more.",
    errno.EFBIG: "The largest file size allowed here is reached (see ulimit -f): record fewer images a file.",
    errno.EACCES: "Ask the owner for the right to write there, or name another directory.",
    errno.EPERM: "Ask the owner for the right to write there, or name another directory.",
    errno.EROFS: "The file system is read-only: name a directory on another.",
    errno.ENOENT: "Create the directory, or name another.",
    errno.EIO: "The disk reports errors: look at the system log, and write to another disk.",
}


def number_of(error: Exception) -> int:
    """Return the errno of an error of the system or of HDF5, which hides it in its text; 0 if it has none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    _, found, rest = str(error).partition("errno = ")
    digits = rest.split(",")[0].strip()
    return int(digits) if found and digits.isdigit() else 0


def is_disk_full(error: Exception) -> bool:
    """Whether there was no room: disk, quota or the largest file size."""
    return number_of(error) in _DISK_FULL


def explain(error: Exception, doing: str) -> StoreError:
    """Return the `StoreError` for an error of the system or of HDF5; `doing` is what was tried."""
    number = number_of(error)
    reason = os.strerror(number) if number else str(error)
    return StoreError(f"{doing}: {reason}.", _REMEDIES.get(number, ""))
