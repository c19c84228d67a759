"""Log records of this process to the log receiver of a camera, as SSDAQ 0.9 sends its own."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from forebay.errors import ConfigError
from forebay.service.process import LOG
from forebay.wire import cdts

_MOST_WAITING = 1000
_TIMEOUT_S = 1.0
_RETRY_S = 2.0
_SEVERITIES = (0, 10, 20, 30, 40, 50)


def log_message(record: logging.LogRecord, sender: str) -> bytes:
    """Return a log record as the camera's programs send it; what happened and its fields are the message."""
    fields = {
        key: f"{value:.6g}" if isinstance(value, float) else value
        for key, value in getattr(record, "fields", {}).items()
    }
    return cdts.encode(
        cdts.LOG,
        {
            "systemType": 0,
            "severity": max(level for level in _SEVERITIES if level <= max(record.levelno, 0)),
            "sender": f"ssdaq.{sender}",
            "message": " ".join([record.getMessage(), *(f"{key}={value}" for key, value in fields.items())]),
            "time": int(record.created * 1e9),
            "pid": record.process or 0,
            "sourceFile": record.pathname,
            "line": record.lineno,
        },
    )


class LogSender(logging.Handler):
    """Sends records in a thread of its own; who logs never waits.

    Attributes
    ----------
    n_dropped:
        Records that nobody took.
    """

    def __init__(self, address: tuple[str, int], sender: str) -> None:
        super().__init__()
        self.n_dropped = 0
        self._address, self._sender = address, sender
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._socket: socket.socket | None = None
        self._retry_s = 0.0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        try:
            self._waiting.put_nowait(log_message(record, self._sender))
        except queue.Full:
            self.n_dropped += 1

    def _run(self) -> None:
        while (message := self._waiting.get()) is not None:
            if not self._send(message):
                self.n_dropped += 1
        if self._socket is not None:
            self._socket.close()

    def _send(self, message: bytes) -> bool:
        try:
            if self._socket is None:
                if time.monotonic() < self._retry_s:
                    return False
                self._socket = socket.create_connection(self._address, _TIMEOUT_S)
            self._socket.sendall(message)
        except OSError:  # nobody receives logs: they are in our own log all the same
            self._retry_s = time.monotonic() + _RETRY_S
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            return False
        return True

    def close(self) -> None:
        """Send what waits, if somebody takes it, and end; may be called twice."""
        if self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=_TIMEOUT_S)
                self._thread.join(_TIMEOUT_S)
            except queue.Full:  # nobody takes them; the thread ends with the process
                self.n_dropped += self._waiting.qsize()
        super().close()


@contextmanager
def logs_sent(server: str, sender: str) -> Iterator[None]:
    """Send what is logged while the body runs to ``IP:PORT`` besides; to nowhere if it is empty.

    Raises
    ------
    ConfigError
        If `server` is not IP:PORT.
    """
    if not server:
        yield
        return
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"log_server {server!r} is not IP:PORT.", "Write 127.0.0.1:10001, or nothing.")
    one = LogSender((host, int(port)), sender)
    LOG.addHandler(one)
    try:
        yield
    finally:
        LOG.removeHandler(one)
        one.close()
