"""The log of larpix-daq: lines of every component into one file, the important ones to the terminal too."""

from __future__ import annotations

import argparse
import sys
import threading
from datetime import datetime
from pathlib import Path

from forebay.errors import StoreError
from forebay.service.process import notify
from forebay.stream.xylem import LogIn
from forebay.wire.xylem import Log


def line_of(entry: Log) -> str:
    """Return ``time | level | component | text``, as the original writes it."""
    try:
        stamp = datetime.fromtimestamp(entry.timestamp).isoformat(" ")  # local time, as the original
    except (ValueError, OverflowError, OSError):
        stamp = str(entry.timestamp)
    text = entry.text.replace("\n", "\\n")
    return f"{stamp} | {entry.level:<8} | {entry.component:<20} | {text}"


def run_log(arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Write lines until `stop`; `StoreError` if the file cannot be written."""
    socket = LogIn(arguments.port, public=arguments.public)
    try:
        with Path(arguments.outfile).open("a", encoding="utf-8", errors="backslashreplace") as file:
            notify("READY=1")
            while not stop.is_set():
                entry = socket.read(0.1)
                if entry is None:
                    file.flush()
                    continue
                line = line_of(entry)
                file.write(line + "\n")
                if entry.level != "DEBUG":
                    sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
    except OSError as error:
        raise StoreError(f"The log {arguments.outfile} cannot be written: {error.strerror}.") from error
    finally:
        socket.close()
