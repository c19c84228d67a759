"""Hand a file descriptor to other processes of this user, and notice when its owner dies.

The owner listens on a Unix socket; whoever connects says what it wants to do with the memory and gets a
descriptor that allows just that. The connection stays open: when it breaks, the owner is gone. Memory
without a name vanishes with its last user, however that one ends.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import threading
from pathlib import Path

from forebay.errors import RingError
from forebay.runtime import private_directory, socket_path

READ, WRITE = b"r", b"w"
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def _connect(path: Path) -> socket.socket | None:
    """Return a connection, or None where nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _lock(path: Path) -> int:
    """Lock `path` for as long as this process lives; `RingError` naming the process that holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(fd, 32).decode(errors="replace")
        os.close(fd)
        raise RingError(
            f"Ring {path.stem} is in use by process {pid}.", "Stop it, or choose another name."
        ) from None
    os.truncate(fd, 0)
    os.write(fd, str(os.getpid()).encode())
    return fd


class Owner:
    """Gives away one descriptor at `path` until it is closed."""

    def __init__(self, path: Path, fd: int) -> None:
        socket_path(private_directory(path.parent), path.name)
        self._lock = _lock(path.with_suffix(".lock"))
        path.unlink(missing_ok=True)  # left behind by an owner that was killed
        self._path = path
        self._fd = fd
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen()
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._serve, name=f"handover {path.name}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        users: dict[int, socket.socket] = {}
        poll = select.poll()
        poll.register(self._stop_reader, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while self._stop_reader not in (ready := [fd for fd, _ in poll.poll()]):
            for fd in users.keys() & set(ready):
                poll.unregister(fd)  # it says nothing more: what is readable is its end
                users.pop(fd).close()
            if self._listener.fileno() in ready:
                user, _ = self._listener.accept()
                if self._give(user):
                    users[user.fileno()] = user
                    poll.register(user, select.POLLIN)
                else:
                    user.close()
        for user in users.values():
            user.close()

    def _give(self, user: socket.socket) -> bool:
        user.settimeout(1)
        try:
            if _CREDENTIALS.unpack(_peer(user))[1] not in (os.getuid(), 0):
                return False
            wish = user.recv(1)
            if wish not in (READ, WRITE):
                return False
            flags = os.O_RDONLY if wish == READ else os.O_RDWR
            fd = os.open(f"/proc/self/fd/{self._fd}", flags | os.O_CLOEXEC)
            try:
                socket.send_fds(user, [b"."], [fd])
            finally:
                os.close(fd)
        except OSError:
            return False  # it left before it was served
        return True

    def close(self) -> None:
        """Stop giving; may be called twice."""
        if self._thread.is_alive():
            os.write(self._stop_writer, b".")
            self._thread.join()
            self._listener.close()
            self._path.unlink(missing_ok=True)
            os.close(self._stop_writer)
            os.close(self._stop_reader)
            os.close(self._lock)


class Borrowed:
    """A descriptor got from an `Owner`.

    Raises
    ------
    RingError
        If nobody owns `path` or the owner refuses.
    """

    def __init__(self, path: Path, wish: bytes) -> None:
        connection = _connect(path)
        if connection is None:
            raise RingError(f"No ring at {path}.", "Start the service that owns it (forebay run CONFIG).")
        try:
            connection.sendall(wish)
            _, fds, _, _ = socket.recv_fds(connection, 1, 1)
        except OSError as error:
            connection.close()
            raise RingError(f"The owner of {path} does not answer: {error}.") from error
        if not fds:
            connection.close()
            raise RingError(f"The owner of {path} refuses us.", "Use it as the same user.")
        self.fd = fds[0]
        self._connection = connection

    @property
    def owner_alive(self) -> bool:
        """Whether the owner still lives."""
        poll = select.poll()  # select knows no descriptors above 1023
        poll.register(self._connection, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self._connection.close()
            self.fd = -1


def _peer(connection: socket.socket) -> bytes:
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
