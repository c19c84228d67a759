"""What this machine has and how it is set: thin readers of /proc, /sys and the kernel."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from struct import Struct

_UDP_GRO = 104
_SIOCGIFCONF = 0x8912
_SIOCGIFMTU = 0x8921
_STA_UNSYNC = 0x0040
_TIMEX = Struct("=i4xqqqqi")  # modes, offset, freq, maxerror, esterror, status; see adjtimex(2)
_IFREQ = Struct("=16s24s")
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Interface:
    """One IPv4 address of this host and the largest packet that its interface takes, in bytes."""

    name: str
    address: IPv4Address
    mtu: int


@dataclass(frozen=True, slots=True)
class Clock:
    """Whether the kernel's clock follows another one, and the largest error that it admits."""

    is_synchronised: bool
    largest_error_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory that a new process could have, and pages that went to disk."""

    available_bytes: int
    swapped_bytes: int


def sysctl(name: str, proc: Path = Path("/proc")) -> int | None:
    """Return a kernel setting, ``net.core.rmem_max`` for example; None where it does not exist."""
    try:
        return int((proc / "sys" / name.replace(".", "/")).read_text())
    except (OSError, ValueError):
        return None


def memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Memory:
    """Return what /proc/meminfo says, or less where a control group allows less."""
    lines = (proc / "meminfo").read_text().splitlines()
    kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    available = kib["MemAvailable"] * 1024
    try:
        limit = int((cgroup / "memory.max").read_text())
        available = min(available, limit - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        available = kib["MemAvailable"] * 1024
    return Memory(available, (kib["SwapTotal"] - kib["SwapFree"]) * 1024)


def interfaces() -> list[Interface]:
    """Return every IPv4 address of this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        room = ctypes.create_string_buffer(_IFREQ.size * 256)
        asked = struct.pack("=i4xQ", len(room), ctypes.addressof(room))
        n_bytes: int = struct.unpack_from("=i", fcntl.ioctl(sock, _SIOCGIFCONF, asked))[0]
        found = []
        for name, address in _IFREQ.iter_unpack(room.raw[:n_bytes]):
            answer = fcntl.ioctl(sock, _SIOCGIFMTU, _IFREQ.pack(name, b""))
            (mtu,) = struct.unpack_from("=i", answer, 16)
            found.append(Interface(name.rstrip(b"\0").decode(), IPv4Address(address[4:8]), mtu))
    return found


def tcp_refusal(address: str, port: int) -> str:
    """Return why nobody can listen at a TCP port of this host; empty if somebody can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            sock.bind((address, port))
            sock.listen(1)
        except OSError as error:
            return str(error.strerror)
    return ""


def clock() -> Clock:
    """Ask the kernel, as ``adjtimex`` does; chrony, ntpd and systemd-timesyncd all tell it."""
    timex = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _, _, _, max_error_us, _, status = _TIMEX.unpack_from(timex)
    return Clock(not status & _STA_UNSYNC, max_error_us / 1e6)


def governors(sys: Path = Path("/sys")) -> set[str]:
    """Return the frequency governors in use; empty where the machine shows none, as most virtual ones."""
    paths = (sys / "devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")
    return {path.read_text().strip() for path in paths}


def has_udp_gro() -> bool:
    """Whether the kernel hands over several datagrams at a time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
        except OSError:
            return False
        return True


def write_rate(directory: Path, n_bytes: int) -> float:
    """Write `n_bytes` to a nameless file in `directory`, sync it; return bytes per second."""
    block = os.urandom(min(n_bytes, _BLOCK_BYTES))
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        start = time.perf_counter()
        for _ in range(max(1, n_bytes // len(block))):
            file.write(block)
        os.fsync(file.fileno())
        return max(1, n_bytes // len(block)) * len(block) / (time.perf_counter() - start)


def abandoned_parts(directory: Path, pattern: str = "**/*") -> Iterator[Path]:
    """Yield the ``.part`` files in `directory` whose journal no living recorder holds.

    By default those of folders below, too; `pattern` says otherwise. Left out are those that this user may
    not read, or that are no longer there when it is their turn.
    """
    for journal in sorted(directory.glob(f"{pattern}.part.journal")):
        try:
            with journal.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError, PermissionError):
            continue
        yield journal.with_name(journal.name.removesuffix(".journal"))
