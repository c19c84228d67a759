"""Where streams meet: endpoints that are ours, free and not open to the world by accident."""

from __future__ import annotations

import fcntl
import os
from ipaddress import ip_address
from pathlib import Path

from forebay.errors import ConfigError, StreamError
from forebay.runtime import private_directory, socket_path


def ipc(directory: Path, name: str) -> str:
    """Return the endpoint of the socket `name` in the runtime directory.

    Raises
    ------
    ConfigError
        If the name leaves the directory, or the path is longer than a Unix socket may have.
    """
    return f"ipc://{socket_path(directory, name)}"


def endpoint_of(ip: str, port: int | str) -> str:
    """Return the endpoint of a TCP port of an address; `ConfigError` if it is none."""
    try:
        address = ip_address(ip)
    except ValueError as error:
        raise ConfigError(f"ip {ip!r} is not an IP address.", "Write it a.b.c.d, or as IPv6.") from error
    return f"tcp://[{address}]:{port}" if address.version == 6 else f"tcp://{address}:{port}"


def check(endpoint: str, *, binds: bool, public: bool) -> Path | None:
    """Refuse an endpoint that is unknown, not ours or open to the world.

    Sockets of ``ipc://`` must lie in a directory of this user alone, which is made if need be; ``tcp://``
    binds to loopback only. `public` lifts both.

    Returns
    -------
    The path of the socket for ``ipc://``, None for ``tcp://``.

    Raises
    ------
    StreamError, ConfigError
        As said; the message names the endpoint, or the path.
    """
    transport, _, address = endpoint.partition("://")
    if transport == "ipc" and address.startswith("/"):
        path = Path(address)
        if not public:
            private_directory(path.parent)
        socket_path(path.parent, path.name)
        return path
    host, colon, port = address.rpartition(":")
    if transport != "tcp" or not colon or not (port == "*" or (port.isdecimal() and int(port) <= 65535)):
        raise StreamError(
            f"{endpoint!r} is not an endpoint.", "Write tcp://ADDRESS:PORT or ipc:///PATH/OF/SOCKET."
        )
    if binds and not public and not _is_loopback(host):
        raise StreamError(
            f"{endpoint} is open to other hosts, and this stream is not meant to be.",
            "Bind tcp://127.0.0.1:PORT, or allow other hosts explicitly (public).",
        )
    return None


def _is_loopback(host: str) -> bool:
    if host in ("localhost", "lo"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def claim(path: Path, endpoint: str) -> int:
    """Make the socket file `path` ours alone and return the descriptor of the lock that says so.

    ZeroMQ takes the file of a living server away without a word; a lock beside it makes the second
    server an error instead. The kernel drops the lock with its process, so that the file of a dead one
    hinders nobody.

    Raises
    ------
    StreamError
        If another server holds the endpoint, or something that is no socket lies there.
    """
    try:
        if path.exists() and not path.is_socket():
            raise StreamError(f"{endpoint}: {path} exists and is not a socket.", "Move it away.")
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StreamError(
            f"{endpoint} cannot be bound: {error.strerror}.", "Check the directory and its rights."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise in_use(endpoint) from error
    return lock


def in_use(endpoint: str) -> StreamError:
    """Return the error for an endpoint that somebody else serves."""
    return StreamError(
        f"{endpoint} is in use by another process.",
        "Stop that process (a second forebay?) or configure another endpoint.",
    )


def not_connected(endpoint: str, error: Exception) -> StreamError:
    """Return the error for an endpoint that ZeroMQ does not take."""
    return StreamError(f"{endpoint} cannot be connected: {error}.", "Check the address.")
