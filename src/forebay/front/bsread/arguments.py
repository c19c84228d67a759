"""The command lines of ``sf_bsread_buffer`` and ``sf_bsread_writer``, with what forebay adds."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")

BUFFER_PORT = 8082
BUFFER_LENGTH = 100
MIN_RING_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class BufferArguments:
    """What ``sf_bsread_buffer`` was asked to do.

    Attributes
    ----------
    stream:
        Address of the source.
    mode:
        How to connect to it.
    buffer_length, buffer_bytes:
        Bounds of the ring in memory.
    ring, ring_bytes, ring_age_s:
        Directory, size and longest memory of the ring on disk; None for none.
    ring_group:
        Group that may read it too; None for its user alone.
    rest_port:
        Port of loopback for statistics; None for none.
    """

    stream: str
    output_port: int = BUFFER_PORT
    buffer_length: int = BUFFER_LENGTH
    log_level: str = "INFO"
    analyzer: bool = False
    mode: Literal["pull", "sub"] = "pull"
    bind: str = "127.0.0.1"
    public: bool = False
    buffer_bytes: int | None = None
    ring: Path | None = None
    ring_bytes: int = 10 * 2**30
    ring_age_s: float | None = None
    ring_group: str | None = None
    rest_port: int | None = None


@dataclass(frozen=True, slots=True)
class WriterArguments:
    """What ``sf_bsread_writer`` was asked to do.

    Attributes
    ----------
    user_id:
        User to become; None to stay.
    root:
        Directory that every file must lie below; None allows any.
    idle_s:
        Once the last pulse is known, end when nothing came for so long.
    mode:
        How to connect to the stream.
    ring:
        Directory of the buffer's ring on disk; None for none.
    """

    stream_address: str
    output_file: str
    user_id: int | None
    rest_port: int
    log_level: str = "INFO"
    root: Path | None = None
    idle_s: float = 10.0
    mode: Literal["pull", "sub"] = "pull"
    ring: Path | None = None


def buffer_arguments(words: Sequence[str] | None = None) -> BufferArguments:
    """Read the command line of ``sf_bsread_buffer``; exits with 2 and a message if it is wrong."""
    parser = argparse.ArgumentParser("sf_bsread_buffer", description="bsread buffer")
    parser.add_argument("stream", help="Stream source in format tcp://127.0.0.1:10000")
    parser.add_argument(
        "-o", "--output_port", type=_port, default=BUFFER_PORT, help="Port to bind the output stream to."
    )
    parser.add_argument(
        "-b", "--buffer_length", type=_positive, default=BUFFER_LENGTH, help="Length of the ring buffer."
    )
    parser.add_argument("--log_level", default="INFO", choices=LEVELS, help="Log level to use.")
    parser.add_argument("--analyzer", action="store_true", help="Analyze the incoming stream for anomalies.")
    ours = parser.add_argument_group("of forebay")
    ours.add_argument("--mode", choices=("pull", "sub"), default="pull", help="How to connect to the source.")
    ours.add_argument("--bind", default="127.0.0.1", help="Address of the output, loopback by default.")
    ours.add_argument("--public", action="store_true", help="Allow --bind to be open to other hosts.")
    ours.add_argument(
        "--buffer_bytes", type=_positive, help="Most bytes in memory; a quarter of it if not given."
    )
    ours.add_argument("--ring", type=Path, help="Directory of a ring on disk that keeps the stream as well.")
    ours.add_argument(
        "--ring_bytes", type=_ring_bytes, default=10 * 2**30, help="Most bytes of it; 10 GiB if not given."
    )
    ours.add_argument(
        "--ring_age_s", type=_seconds, help="How long it keeps messages; as bytes allow if not given."
    )
    ours.add_argument(
        "--ring_group", help="Group whose users may read it too, by name or number; nobody else if not given."
    )
    ours.add_argument("--rest_port", type=_port, help="Port of this host for REST: status and statistics.")
    return BufferArguments(**vars(parser.parse_args(words)))


def writer_arguments(words: Sequence[str] | None = None) -> WriterArguments:
    """Read the command line of ``sf_bsread_writer``; exits with 2 and a message if it is wrong."""
    parser = argparse.ArgumentParser("sf_bsread_writer", description="bsread writer")
    parser.add_argument("stream_address", help="Address of the stream to connect to.")
    parser.add_argument("output_file", help="File where to write the bsread stream.")
    parser.add_argument(
        "user_id",
        type=_user,
        help="user_id under which to run the writer process. Use -1 for current user.",
    )
    parser.add_argument("rest_port", type=_port, help="Port for REST api.")
    parser.add_argument("--log_level", default="INFO", choices=LEVELS, help="Log level to use.")
    ours = parser.add_argument_group("of forebay")
    ours.add_argument("--root", type=Path, help="Directory that every file must lie below.")
    ours.add_argument(
        "--idle_s",
        type=_seconds,
        default=10.0,
        help="Once the last pulse is known, end when nothing came for so many seconds.",
    )
    ours.add_argument("--mode", choices=("pull", "sub"), default="pull", help="How to connect to the stream.")
    ours.add_argument(
        "--ring",
        type=Path,
        help="Directory of the buffer's ring on disk: begin with pulses as old as it has.",
    )
    return WriterArguments(**vars(parser.parse_args(words)))


def _number(text: str, allowed: str, is_right: Callable[[int], bool]) -> int:
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or not is_right(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
    return number


def _port(text: str) -> int:
    return _number(text, "a port, 1 to 65535", lambda n: 0 < n < 65536)


def _positive(text: str) -> int:
    return _number(text, "a number of 1 or more", lambda n: n >= 1)


def _ring_bytes(text: str) -> int:
    return _number(text, f"a size of {MIN_RING_BYTES} bytes (16 MiB) or more", lambda n: n >= MIN_RING_BYTES)


def _user(text: str) -> int | None:
    user_id = _number(text, "a user id, or -1 for the current user", lambda n: -1 <= n < 2**32 - 1)
    return None if user_id == -1 else user_id


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return seconds
