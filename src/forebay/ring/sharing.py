"""Who may read a disk ring: its user alone, or a group too."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path
from typing import Final

from forebay.errors import RingError

_SHARED_DIRECTORY: Final = 0o2750
_SHARED_FILE: Final = 0o640
_PRIVATE_FILE: Final = 0o600


def share(directory: Path, group: str) -> None:
    """Let a group read the ring in `directory` from now on, files that are there included.

    The directory's group and set-group-id bit say so from then on, see `file_mode`.

    Parameters
    ----------
    group:
        Name or number.

    Raises
    ------
    RingError
        If there is no such group, or the system refuses.
    """
    try:
        group_id = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise RingError(
            f"There is no group {group!r} to share the disk ring {directory} with.",
            "Give the name of a group of this host, or its number.",
        ) from error
    try:
        for path in directory.iterdir():
            if not path.is_symlink():
                os.chown(path, -1, group_id)
                path.chmod(_SHARED_FILE)
        os.chown(directory, -1, group_id)
        directory.chmod(_SHARED_DIRECTORY)
    except OSError as error:
        raise RingError(
            f"The disk ring {directory} cannot be shared with group {group}: {error.strerror}.",
            "Its writer must own the directory and be a member of the group.",
        ) from error


def file_mode(directory: Path) -> int:
    """Return the mode of new files of a ring: for its group too, if its directory was shared."""
    mode = directory.stat().st_mode
    return _SHARED_FILE if mode & stat.S_ISGID and mode & stat.S_IRGRP else _PRIVATE_FILE
