"""What a session of tests left behind on this machine: processes, mounts, networks, shared memory."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.isolation import MARK

_PROC = Path("/proc")
_SHARED_MEMORY = Path("/dev/shm")
_OURS = ("PostgreSQL.", "forebay", "psm_", "sem.")
"""How names of shared memory begin that servers and processes of tests make; all else is somebody else's."""

_GRACE_S = 15.0
"""What was told to end may take so long."""

_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""A process ended while we looked, or is not ours."""

_OF_PYTHON = "multiprocessing.resource_tracker"
"""Lives as long as the process that it serves."""

NETWORKS = "networks"
"""Folder of a session with a file for each mark of networks that are there."""


def clean(folder: Path, roots: Iterable[Path], began_s: float) -> list[str]:
    """Remove what a session left behind; return a line for each thing, with the test if that is known.

    Parameters
    ----------
    folder:
        Of the session.
    roots:
        Further folders in which only this session works.
    began_s:
        When it began; shared memory that is older is not its own.
    """
    roots = [folder, *roots]
    return [*_processes(folder, roots), *_mounts(roots), *_networks(folder), *_memory(began_s)]


def _processes(folder: Path, roots: list[Path]) -> list[str]:
    end = time.monotonic() + _GRACE_S
    while (found := dict(_living(folder, roots))) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"process {pid}: {what}" for pid, what in found.items()]


def _living(folder: Path, roots: list[Path]) -> Iterator[tuple[int, str]]:
    """Yield pid, command line and test of every other process with our mark, or that works in our folders."""
    mark = f"{MARK}={folder}"
    for process in _PROC.iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        with suppress(*_GONE):
            environment = os.fsdecode((process / "environ").read_bytes()).split("\0")
            working = (process / "cwd").readlink()
            if mark in environment or any(working.is_relative_to(root) for root in roots):
                words = os.fsdecode((process / "cmdline").read_bytes()).replace("\0", " ").strip()
                if _OF_PYTHON not in words:
                    yield int(process.name), words[:300] + _started_by(environment)


def _started_by(environment: list[str]) -> str:
    name = "PYTEST_CURRENT_TEST="
    return next((f" (of {one.removeprefix(name)})" for one in environment if one.startswith(name)), "")


def _mounts(roots: list[Path]) -> list[str]:
    """Unmount what is mounted below these folders, the newest first."""
    table = (_PROC / "self" / "mountinfo").read_text(encoding="utf-8")
    points = [Path(_unescaped(line.split(" ")[4])) for line in table.splitlines()]
    found = [point for point in points if any(point.is_relative_to(root) for root in roots)]
    for point in reversed(found):
        unmount(point)
    return [f"mount: {point}" for point in found]


def unmount(folder: Path) -> None:
    """Take a file system away, although somebody may still have files open in it."""
    if subprocess.run(["umount", folder], capture_output=True, check=False).returncode:
        subprocess.run(["umount", "--lazy", folder], capture_output=True, check=True)


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _networks(folder: Path) -> list[str]:
    """Delete namespaces and links whose names have a mark that is still noted in the session's folder."""
    marks = [path.name for path in (folder / NETWORKS).glob("*")]
    found = []
    for kind, where in (("netns", Path("/run/netns")), ("link", Path("/sys/class/net"))):
        for path in where.glob("*"):
            if any(mark in path.name for mark in marks):
                subprocess.run(["ip", kind, "delete", path.name], capture_output=True, check=False)
                found.append(f"{kind}: {path.name}")
    return found


def _memory(began_s: float) -> list[str]:
    """Remove shared memory of this session that no living process has: others may be at work here."""
    found = []
    for path in _SHARED_MEMORY.glob("*"):
        with suppress(*_GONE):
            if (
                path.name.startswith(_OURS)
                and path.is_file()
                and path.stat().st_ctime > began_s
                and not _is_used(path)
            ):
                path.unlink()
                found.append(f"shared memory: {path}")
    return found


def _is_used(path: Path) -> bool:
    """Whether a process has it open or mapped; by number: semaphores are mapped under another name."""
    number = path.stat().st_ino
    for process in _PROC.iterdir():
        if process.name.isdecimal():
            with suppress(*_GONE):
                maps = (process / "maps").read_text(encoding="utf-8", errors="replace")
                if re.search(rf" {number} +{_SHARED_MEMORY}/", maps):
                    return True
                for one in (process / "fd").iterdir():
                    with suppress(*_GONE):
                        if one.stat().st_ino == number:
                            return True
    return False
