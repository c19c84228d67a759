"""Where the sockets between processes of one user lie: a directory of this user alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from forebay.errors import ConfigError

MAX_SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket on Linux."""

_OTHER = "Set runtime_dir in the configuration, or FOREBAY_RUNTIME_DIR, to a directory of your own."


def private_directory(path: Path) -> Path:
    """Make a directory for sockets, for this user only, and return it.

    Raises
    ------
    ConfigError
        If it cannot be made, or exists and is not a directory of this user that nobody else may enter.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise ConfigError(
            f"The runtime directory {path} cannot be made: {error.strerror}.", _OTHER
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            f"The runtime directory {path} is not a directory of user {os.getuid()} "
            f"(owner uid {found.st_uid}).",
            _OTHER,
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            f"The runtime directory {path} is open to others (mode {stat.S_IMODE(found.st_mode):o}).",
            f"Close it: chmod 700 {path}",
        )
    return path


def socket_path(directory: Path, name: str) -> Path:
    """Return the absolute path of the socket `name`.

    Raises
    ------
    ConfigError
        If the name leaves the directory, or the path is longer than a Unix socket may have.
    """
    if not name or "/" in name or name in (".", ".."):
        raise ConfigError(f"{name!r} is not the name of a socket.", "Use letters, digits, '.', '_' and '-'.")
    path = directory.absolute() / name
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(
            f"The path of the socket {path} is longer than {MAX_SOCKET_PATH_BYTES} bytes.",
            "Set runtime_dir or FOREBAY_RUNTIME_DIR to a shorter path.",
        )
    return path
