"""Who is alive: each client of the hub holds a lock on a file; the kernel frees it when its process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from forebay.runtime import private_directory


class Presence:
    """The file of one living client, below ``bus.clients`` in the runtime directory.

    The lock is taken before the file gets its name, so that a file without a lock belongs to a dead client.
    """

    def __init__(self, runtime_dir: Path, client: str) -> None:
        directory = private_directory(private_directory(runtime_dir) / "bus.clients")
        self._path = directory / client
        new = directory / f"{client}.new"
        self._file = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self._path)

    def close(self) -> None:
        """Be gone."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_alive(runtime_dir: Path, client: str) -> bool:
    """Return whether a client lives; the file of a dead one is removed."""
    path = runtime_dir / "bus.clients" / client
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(file)


def sweep(runtime_dir: Path) -> None:
    """Remove the files of the dead."""
    directory = private_directory(private_directory(runtime_dir) / "bus.clients")
    for path in directory.iterdir():
        if path.suffix != ".new":
            is_alive(runtime_dir, path.name)
