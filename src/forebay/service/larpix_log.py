"""The log of larpix-daq: lines of every component into one file, the important ones to the terminal too."""

from __future__ import annotations

import argparse
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import TextIO

from forebay.errors import StoreError
from forebay.front.larpix.arguments import LOG_ADDRESS, OLD_LOG_ADDRESS
from forebay.service.process import notify
from forebay.stream.xylem import LogIn
from forebay.wire.xylem import Log

_TURN_S = 0.05
_MOST_LINES = 1000  # before the file is flushed, and the end is looked for


def line_of(entry: Log) -> str:
    """Return ``time | level | component | text``, as the original writes it."""
    try:
        stamp = datetime.fromtimestamp(entry.timestamp).isoformat(" ")  # local time, as the original
    except (ValueError, OverflowError, OSError):
        stamp = str(entry.timestamp)
    line = f"{stamp} | {entry.level:<8} | {entry.component:<20} | {entry.text}"
    return line.replace("\n", "\\n").replace("\r", "\\r")


def _write(file: TextIO, entry: Log) -> None:
    line = line_of(entry)
    file.write(line + "\n")
    if entry.level != "DEBUG":
        sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")


def _write_lines(file: TextIO, socket: LogIn) -> None:
    timeout = _TURN_S
    for _ in range(_MOST_LINES):
        entry = socket.read(timeout)
        if entry is None:
            return
        timeout = 0.0
        _write(file, entry)


def run_log(arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Write lines until `stop`; `StoreError` if the file cannot be written."""
    addresses = [arguments.port] if arguments.port else [LOG_ADDRESS, OLD_LOG_ADDRESS]
    sockets: list[LogIn] = []
    try:
        for address in addresses:
            sockets.append(LogIn(address, public=arguments.public))  # noqa: PERF401 - some may be open
        with Path(arguments.outfile).open("a", encoding="utf-8", errors="backslashreplace") as file:
            notify("READY=1")
            while not stop.is_set():
                for socket in sockets:
                    _write_lines(file, socket)
                file.flush()
    except OSError as error:
        raise StoreError(f"The log {arguments.outfile} cannot be written: {error.strerror}.") from error
    finally:
        for socket in sockets:
            socket.close()
