"""Who has a job in hand, and whether that process is still there."""

from __future__ import annotations

import os
import re
import socket
from hashlib import blake2b
from pathlib import Path

_TEXT = re.compile(r"^(?P<name>\S+) on (?P<host>\S+) \(pid (?P<pid>\d+), (?P<birth>\S+)\)$")


def host_name() -> str:
    """Return what this host calls itself."""
    return socket.gethostname()


def owner(name: str, pid: int | None = None) -> str:
    """Return a text that names a process, this one unless `pid` is given, and no other ever."""
    number = os.getpid() if pid is None else pid
    return f"{name} on {host_name()} (pid {number}, {_birth(number) or f'{_space()}-'})"


def is_gone(text: str) -> bool:
    """Whether that process has certainly ended; False also where it lives out of sight, on another host."""
    found = _TEXT.match(text)
    if found is None or found["host"] != host_name():
        return False
    if found["birth"].rpartition("-")[0] != _space():
        return False
    pid = int(found["pid"])
    if not _exists(pid):
        return True
    birth = _birth(pid)
    if birth is None:
        return False  # of somebody else, and hidden: its heartbeat tells whether it works
    return birth.endswith("-") or birth != found["birth"]


def is_here(text: str) -> bool:
    """Whether that process certainly lives, on this host and in sight."""
    found = _TEXT.match(text)
    return found is not None and found["host"] == host_name() and found["birth"] == _birth(int(found["pid"]))


def _exists(pid: int) -> bool:
    """Whether there is a process of that number, which the kernel says also where /proc is hidden."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _space() -> str:
    """Return what tells apart hosts of one name, and containers on one host."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    space = b"%b %d" % (boot, Path("/proc/self/ns/pid").stat().st_ino)
    return blake2b(space, digest_size=4).hexdigest()


def _birth(pid: int) -> str | None:
    """Return when and where a process was born, as nothing else was; without its time if it is a zombie.

    None if /proc does not show it (``hidepid``), or it has just ended.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":  # a zombie holds nothing any more
        return f"{_space()}-"
    return f"{_space()}-{fields[19]}"
