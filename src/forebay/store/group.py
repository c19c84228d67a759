"""Folders of a group of users: what is made there is theirs as the folder is, whatever the maker's umask."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

LOG = logging.getLogger("forebay")

_OF_FOLDERS = 0o075
_OF_FILES = 0o064


def share(path: Path) -> None:
    """Give a new file or folder the rights that a set-group-id folder around it gives its group and others.

    Files are never executable, nothing is ever writable for all, and in other folders nothing changes.
    """
    try:
        around, mine = path.parent.stat(), path.stat()
        is_shared = bool(around.st_mode & stat.S_ISGID) and mine.st_gid == around.st_gid
        if not is_shared or not _may(mine):
            return
        allowed = _OF_FOLDERS if stat.S_ISDIR(mine.st_mode) else _OF_FILES
        found = stat.S_IMODE(mine.st_mode)
        wanted = found & ~0o077 | around.st_mode & allowed
        if wanted != found:
            path.chmod(wanted)
    except OSError as error:
        LOG.warning("rights cannot be given", extra={"fields": {"path": path, "reason": error.strerror}})


def make_shared(directory: Path) -> None:
    """Make a folder and those above it, where they are not there, each shared as the one around it."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        share(one)


def _may(mine: os.stat_result) -> bool:
    """Whether a change of rights leaves the set-group-id bit alone: the kernel takes it from strangers."""
    if os.geteuid() == 0:
        return True
    return mine.st_uid == os.geteuid() and mine.st_gid in (os.getegid(), *os.getgroups())
