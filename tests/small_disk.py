"""A file system that is soon full, and that is gone when the test is over, whatever happened in it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.leaks import unmount

_PATIENCE_S = 20.0
"""A killed process has no command line any more some time before its files are closed."""


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of this size on a folder; skips without the right to.

    Who still has files open in it at the end is killed, and that is a failure of the test.
    """
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount here: {done.stderr.strip()}")
    users: dict[int, str] = {}
    try:
        yield folder
        users = _users(folder, time.monotonic() + _PATIENCE_S)
    finally:
        for pid in set(_users(folder, 0)) - {os.getpid()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        unmount(folder)
    assert not users, f"still have files open in {folder}: {users}"


def _users(folder: Path, end: float) -> dict[int, str]:
    """Return pid and one of its files of each process that uses the folder; waits until there is none."""
    while found := dict(_using(folder)):
        if time.monotonic() > end:
            return found
        time.sleep(0.05)
    return found


def _using(folder: Path) -> Iterator[tuple[int, str]]:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                paths = [(process / "cwd").readlink()]
                for one in (process / "fd").iterdir():
                    with suppress(FileNotFoundError):  # closed meanwhile
                        paths.append(one.readlink())
                for path in paths:
                    if path.is_relative_to(folder):
                        yield int(process.name), str(path)
