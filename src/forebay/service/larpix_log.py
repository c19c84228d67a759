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


def line_of(entry: Log) -> str:
    """Return ``time | level | component | text``, as the original writes it."""
    try:
        stamp = datetime.fromtimestamp(entry.timestamp).isoformat(" ")  # local time, as the original
    except (ValueError, OverflowError, OSError):
        stamp = str(entry.timestamp)
    text = entry.text.replace("\n", "\\n")
    return f"{stamp} | {entry.level:<8} | {entry.component:<20} | {text}"


def _write(file: TextIO, entry: Log) -> None:
    line = line_of(entry)
    file.write(line + "\n")
    if entry.level != "DEBUG":
        sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")


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
                    entry = socket.read(_TURN_S)
                    while entry is not None:
                        _write(file, entry)
                        entry = socket.read(0)
                file.flush()
    except OSError as error:
        raise StoreError(f"The log {arguments.outfile} cannot be written: {error.strerror}.") from error
    finally:
        for socket in sockets:
            socket.close()
