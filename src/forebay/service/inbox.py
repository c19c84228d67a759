"""What services say to their supervisor: systemd's notification protocol on a socket of this user alone."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from forebay.runtime import private_directory


class Inbox:
    """The socket to which services send ``READY=1`` and ``STATUS=...``."""

    def __init__(self, runtime_dir: Path) -> None:
        self.path = private_directory(runtime_dir) / f"supervisor-{os.getpid()}.notify"
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    def read(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield what has come: the pid, as the kernel knows it, and what that process said."""
        while True:
            try:
                message, ancillary, _, _ = self._socket.recvmsg(2**16, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return
            lines = message.decode(errors="replace").splitlines()
            said = dict(line.split("=", 1) for line in lines if "=" in line)
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    yield int.from_bytes(data[:4], sys.byteorder), said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)
