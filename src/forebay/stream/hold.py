"""Keeps a Unix connection open until its reader has read all of it.

When a sender closes its end of an ``ipc://`` connection, a ZeroMQ reader whose queue is full at that moment
throws away what still lies in the kernel, whatever the linger of the sender. A second descriptor of the
connection, closed only when the kernel holds nothing more, keeps the reader from noticing too early.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import time

import zmq
from zmq.utils.monitor import recv_monitor_message


class PeerHold:
    """Follows the one connection of a connecting socket, which it must be given before it connects."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        socket.context.setsockopt(zmq.RCVHWM, 0)  # for the monitor: its events must never block ZeroMQ
        self._monitor = socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        self._fd: int | None = None

    def take(self) -> None:
        """Hold the connection, if there is one, and stop following; just before the socket is closed."""
        connected: int | None = None
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            connected = event["value"] if event["event"] == zmq.EVENT_CONNECTED else None
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        if connected is not None:
            try:
                self._fd = os.dup(connected)
            except OSError:
                self._fd = None  # it broke this very moment: nothing to hold

    def release(self, end: float) -> None:
        """Let go of the connection when all was read, at the latest at `end` (monotonic, seconds)."""
        if self._fd is None:
            return
        while _unread_bytes(self._fd) and time.monotonic() < end:
            time.sleep(0.001)
        os.close(self._fd)
        self._fd = None


def _unread_bytes(fd: int) -> int:
    try:
        (n,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return 0
    return int(n)
