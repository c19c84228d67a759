"""The life of a process: signals set a flag, logs are lines of key=value, the end is an honest exit code."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal, NoReturn

from forebay.errors import ForebayError

LOG = logging.getLogger("forebay")

NOTIFY_S = 5.0
"""Longest wait for a supervisor that does not read: its socket holds some ten messages."""

_PR_SET_PDEATHSIG = 1
_HEARD = threading.Event()
"""Cleared once it was said that nobody listens, until somebody does again."""

_HEARD.set()

LogFormat = Literal["line", "json"]
"""How a log is written: for people (key=value), or one JSON object a line."""


class LineFormatter(logging.Formatter):
    """One line an event: time (UTC), level, service, what happened, then fields as key=value."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts = [f"{stamp}.{int(record.msecs):03}Z", record.levelname, self._service, record.getMessage()]
        parts += [f"{key}={_value(value)}" for key, value in getattr(record, "fields", {}).items()]
        if record.exc_info:
            parts.append(f"traceback={json.dumps(self.formatException(record.exc_info))}")
        return " ".join(parts)


class JsonFormatter(logging.Formatter):
    """One JSON object an event, with what `LineFormatter` says; fields named like our own are left out."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        ours = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._service,
            "event": record.getMessage(),
        }
        if record.exc_info:
            ours["traceback"] = self.formatException(record.exc_info)
        return json.dumps(
            ours | {k: v for k, v in getattr(record, "fields", {}).items() if k not in ours}, default=str
        )


def _value(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return json.dumps(text) if not text or any(c in text for c in ' ="\n') else text


def say(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Log one event of interest with its fields; never called for each packet."""
    LOG.log(level, event, extra={"fields": fields})


def warn(event: str, fields: Mapping[str, object]) -> None:
    """Log what somebody should look at."""
    LOG.warning(event, extra={"fields": fields})


def log_to_stderr(service: str, level: int = logging.INFO, log_format: LogFormat = "line") -> None:
    """Send this process's log lines to standard error."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonFormatter(service) if log_format == "json" else LineFormatter(service))
    LOG.handlers[:] = [stream]
    LOG.setLevel(level)
    LOG.propagate = False


def notify(state: str) -> None:
    """Tell whoever supervises us (systemd's notification protocol), e.g. ``READY=1``.

    Where nobody listens, or nobody reads for `NOTIFY_S`, it is lost; the log says so once.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(NOTIFY_S)
        try:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.send(state.encode())
        except OSError as error:
            if _HEARD.is_set():
                say("nobody listens for our state", logging.WARNING, error=error)
            _HEARD.clear()
        else:
            _HEARD.set()


def carry_out(command: str, work: Callable[[], None]) -> NoReturn:
    """Do what a command does, and exit: with 1 where it fails, and where nobody reads its output any more."""
    try:
        work()
        sys.stdout.flush()
    except ForebayError as error:
        print(f"{command}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes at its end
        raise SystemExit(1) from None
    raise SystemExit(0)


def die_with_parent(parent_pid: int) -> None:
    """Get SIGTERM when the parent process ends, also when it ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Lend an event that SIGTERM, SIGINT and the end of the block set.

    The old meaning of both signals returns afterwards. A second SIGINT ends the process at once.
    """
    stop = threading.Event()
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    seen: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        if seen and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        seen.append(number)

    def set_stop() -> None:
        """Set the event, not in the thread that was interrupted: it may hold the lock of the event.

        The interpreter writes to the pipe in whichever thread the signal hits, so that nothing needs to
        wait for the main thread; and a select, unlike a read, goes on where it hits this one.
        """
        select.select([reader], [], [])
        stop.set()

    thread = threading.Thread(target=set_stop, name="stop", daemon=True)
    thread.start()
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    before_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, action in before.items():
            signal.signal(number, action)
        os.write(writer, b"\0")
        thread.join()
        os.close(writer)
        os.close(reader)


@contextmanager
def service_life(
    name: str, parent_pid: int | None, log_format: LogFormat = "line"
) -> Iterator[threading.Event]:
    """Run the body as a service: log lines, signals, parent; lends the stop flag.

    Raises
    ------
    SystemExit
        With 1 if the body failed; the reason is logged, with a traceback only where it is not a
        `ForebayError`.
    """
    log_to_stderr(name, log_format=log_format)
    with stop_on_signal() as stop:
        if parent_pid is not None:
            die_with_parent(parent_pid)
        try:
            yield stop
        except ForebayError as error:
            say("failed", logging.ERROR, reason=error)
            notify(f"STATUS={error}")
            raise SystemExit(1) from error
        except Exception as error:
            LOG.exception("failed")
            notify(f"STATUS={type(error).__name__}: {error}")
            raise SystemExit(1) from error
        say("ended")
