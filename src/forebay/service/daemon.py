"""Processes in the background that are started once, found again, stopped and asked how they ended."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import ConfigError, ServiceError
from forebay.runtime import private_directory, socket_path

_READY = b"ready"
_ENDED, _FAILED = "ended", "failed"
_ANOTHER = "Of several, name the one: --instance NAME."


@dataclass(frozen=True)
class End:
    """How a process ended: why it failed, or what else is to be known of its work; empty if nothing."""

    failure: str = ""
    remark: str = ""


@dataclass(frozen=True)
class PidFile:
    """Who runs under a name: the file is locked as long as its process lives, whatever becomes of the pid.

    It says ``PID START`` (start in clock ticks since boot) while the process lives, then ``failed`` and why,
    or ``ended`` and, if there is something, what is to be known.

    Parameters
    ----------
    directory:
        Of this user alone; made if need be.
    """

    directory: Path
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return socket_path(private_directory(self.directory), f"{self.name}.pid")

    def take(self) -> int:
        """Lock it and return its descriptor, which may be handed to a child.

        Raises
        ------
        ServiceError
            If another process has it.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise ServiceError(
                f"{self.name} is running already, as process {self._words()[0]}.",
                f"Stop it, or start another one with --instance NAME ({self.path}).",
            ) from error
        return fd

    def is_held(self) -> bool:
        """Whether a process of this name runs now."""
        pid_text, start = self._words()
        return pid_text.isdecimal() and _started(int(pid_text)) == start != ""

    @staticmethod
    def sign(fd: int) -> None:
        """Write down that it is this process that holds `fd`."""
        _rewrite(fd, f"{os.getpid()} {_started(os.getpid())}")

    @staticmethod
    def sign_off(fd: int, end: End) -> None:
        """Write down how this process ended."""
        word = _FAILED if end.failure else _ENDED
        _rewrite(fd, f"{word} {' '.join((end.failure or end.remark).split())}")

    def _words(self) -> list[str]:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return text.split(" ", 1) if " " in text else [text or "?", ""]

    def stop(self, timeout: float) -> End:
        """Let the process stop, wait until it has, and return how it ended.

        Raises
        ------
        ServiceError
            If nothing runs under this name, or does not end within `timeout` seconds.
        """
        pid_text, start = self._words()
        if pid_text == _FAILED:
            raise ServiceError(f"{self.name} is not running: it ended because {start}", "Start it again.")
        if pid_text == _ENDED:
            raise ServiceError(f"{self.name} is not running: it ended in order.", _ANOTHER)
        if not pid_text.isdecimal():
            raise ServiceError(f"{self.name} is not running.", _ANOTHER)
        pid = int(pid_text)
        is_gone = f"{self.name} is not running: process {pid} was killed, or the host went down."
        if _started(pid) != start:
            raise ServiceError(is_gone, "Start it again.")
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise ServiceError(is_gone, "Start it again.") from error
        try:
            if _started(pid) != start:  # it ended, and somebody else has its number
                raise ServiceError(is_gone, "Start it again.")
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not select.select([process], [], [], timeout)[0]:
                raise ServiceError(
                    f"{self.name}, process {pid}, did not end within {timeout:g} s.",
                    f"Look at its log; kill -9 {pid} ends it without closing its files.",
                )
        finally:
            os.close(process)
        word, said = self._words()
        if word == _ENDED:
            return End(remark=said)
        return End(said if word == _FAILED else "it ended without a word")


def _rewrite(fd: int, text: str) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; "" if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    after_name = text.rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else after_name[19]


def open_log(path: Path) -> int:
    """Open a log file for appending and return its descriptor.

    Raises
    ------
    ConfigError
        If it cannot be opened, is a link, or is somebody else's.
    """
    try:
        fd = os.open(
            path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY, 0o640
        )
    except OSError as error:
        raise ConfigError(f"The log {path} cannot be opened: {error.strerror}.", "Name another.") from error
    found = os.fstat(fd)
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_nlink == 1
    if not is_ours and not stat.S_ISCHR(found.st_mode):
        os.close(fd)
        raise ConfigError(f"The log {path} is not a file of this user alone.", "Name another.")
    return fd


def start_daemon(
    module: str, words: Sequence[str], configuration: str, pid_file: PidFile, stdout: Path, stderr: Path
) -> int:
    """Run a module of ours in the background; return its pid once it says that it is ready.

    It gets `configuration` as standard input, and the lock of the pid file; see `as_daemon`.

    Raises
    ------
    ServiceError
        If it runs already, or ended before it was ready; the message says why.
    ConfigError
        If a log cannot be opened.
    """
    lock = pid_file.take()
    told, tell = os.pipe()
    logs: list[int] = []
    try:
        logs = [open_log(stdout), open_log(stderr)]
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words, f"--fds={lock},{tell}"],
            stdin=subprocess.PIPE,
            stdout=logs[0],
            stderr=logs[1],
            pass_fds=(lock, tell),
            start_new_session=True,
            cwd="/",
            env=os.environ | {"FOREBAY_RUNTIME_DIR": str(pid_file.directory.absolute())},
        )
    finally:
        for fd in (lock, tell, *logs):
            os.close(fd)
    with os.fdopen(told, "rb") as answer:
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(configuration.encode())
        said = answer.read()
    if said != _READY:
        process.wait()
        reason = said.decode(errors="replace") or f"it ended with code {process.returncode}"
        raise ServiceError(f"{pid_file.name} could not be started: {reason}", f"Its log is {stderr}.")
    process.returncode = 0  # it lives on, and we need not wait for it
    return process.pid


class Told:
    """How a daemon tells those who started it that it is ready, or why it failed.

    Attributes
    ----------
    remark:
        What is to be known of its work at the end, for those who stop it.
    """

    def __init__(self, fd: int) -> None:
        self.remark = ""
        self._fd = fd

    def ready(self) -> None:
        """Say that the work has begun."""
        self._say(_READY)

    def failed(self, reason: str) -> None:
        """Say why it did not; nothing if `ready` was called."""
        self._say(reason.encode())

    def _say(self, text: bytes) -> None:
        if self._fd >= 0:
            os.write(self._fd, text)
            os.close(self._fd)
            self._fd = -1


@contextmanager
def as_daemon(fds: str) -> Iterator[Told]:
    """Run the body as the process that `start_daemon` started with these ``--fds``."""
    lock, tell = (int(fd) for fd in fds.split(","))
    os.set_inheritable(lock, False)
    os.set_inheritable(tell, False)
    told = Told(tell)
    PidFile.sign(lock)
    try:
        yield told
    except BaseException as error:
        told.failed(str(error))
        PidFile.sign_off(lock, End(str(error) or type(error).__name__))
        raise
    PidFile.sign_off(lock, End(remark=told.remark))


@contextmanager
def in_foreground(pid_file: PidFile) -> Iterator[None]:
    """Run the body in this process under the name of a daemon; raises as `PidFile.take`."""
    lock = pid_file.take()
    try:
        PidFile.sign(lock)
        yield
    except BaseException as error:
        PidFile.sign_off(lock, End(str(error) or type(error).__name__))
        raise
    else:
        PidFile.sign_off(lock, End())
    finally:
        os.close(lock)


def bind_to_cores(cores: Sequence[int]) -> None:
    """Let this process run on these cores only.

    Raises
    ------
    ConfigError
        If this host does not have one of them, or not for us.
    """
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        has = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        raise ConfigError(
            f"core_id {', '.join(map(str, cores))}: {error.strerror}.", f"Cores of this process are {has}."
        ) from error
