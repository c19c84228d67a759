"""The checks of a raw file, messages with nothing between them: readouts or trigger patterns of SSDAQ 0.9."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.store.report import Problem, Report, Severity
from forebay.wire import trigger
from forebay.wire.ssreadout import MESSAGE_B

CHECKS: Mapping[str, str] = {
    "raw-messages": "Every byte is part of a message.",
    "raw-numbers": "Readouts follow each other by number and time tag: none is missing between two.",
    "raw-times": "The time of arrival of every readout is one.",
}
"""Name -> description."""

_TRIGGER = b"\xfe\xca"
_MOST_MV = 5001.0
_NS = 10**9

Found = Iterator[tuple[Severity, str]]


def raw_kind(path: Path) -> str:
    """Return what a file holds by its first bytes: readouts, triggers, or nothing of that kind ("")."""
    try:
        with path.open("rb") as file:
            head = file.read(MESSAGE_B.itemsize)
    except OSError:
        return ""
    if head[:2] == _TRIGGER and len(head) > 3 and head[2] < 4:
        return "triggers"
    if len(head) < MESSAGE_B.itemsize:
        return ""
    one = np.frombuffer(head, MESSAGE_B)[0]
    data = one["data"][~np.isnan(one["data"])]
    is_readout = 0 < one["number"] < 2**48 and one["arrived_rest_ns"] < _NS and one["arrived_s"] < 2**33
    return "readouts" if is_readout and ((data >= 0) & (data <= _MOST_MV)).all() else ""


def check_raw(path: Path, kind: str, skip: Collection[str], opened: list[str]) -> Report:
    """Check one file of a kind of `raw_kind`; `opened` are the names of the checks that come before these."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if kind == "triggers":
            problems, rows, names = *_look_at_triggers(data), ["raw-messages"]
        else:
            problems, rows, names = *_look_at_readouts(data), list(CHECKS)
    return Report(
        str(path),
        "raw",
        [*rows, ("container", "SSDAQ's raw file: messages with nothing between them")],
        [one for one in problems if one.check not in skip],
        opened + [name for name in names if name not in skip],
        sorted(skip),
    )


def _look_at_triggers(data: mmap.mmap) -> tuple[list[Problem], list[tuple[str, str]]]:
    n, at, size = 0, 0, len(data)
    problems = []
    while at < size:
        end = at + trigger.size_of(data[at : at + 128])
        try:
            trigger.type_of(data[at:end])
        except WireError as error:
            message = f"{size - at} bytes behind {n} patterns, at {at}, are part of none: {error}"
            problems.append(Problem("raw-messages", "problem", message))
            break
        n, at = n + 1, end
    return problems, [("kind", "triggers"), ("objects", str(n))]


def _look_at_readouts(data: mmap.mmap) -> tuple[list[Problem], list[tuple[str, str]]]:
    n, rest = divmod(len(data), MESSAGE_B.itemsize)
    messages: NDArray[np.void] = np.frombuffer(data, MESSAGE_B, n)
    columns = {name: messages[name].copy() for name in ("number", "time_ns", "arrived_rest_ns")}
    del messages  # it holds the file
    run: Mapping[str, Callable[[], Found]] = {
        "raw-messages": lambda: _check_whole(n, rest),
        "raw-numbers": lambda: _check_numbers(columns["number"], columns["time_ns"]),
        "raw-times": lambda: _check_times(columns["arrived_rest_ns"]),
    }
    problems = [
        Problem(name, severity, message) for name, look in run.items() for severity, message in look()
    ]
    rows = [("kind", "readouts"), ("readouts", str(n))]
    if n:
        rows.append(("numbers", f"{columns['number'][0]}..{columns['number'][-1]}"))
        rows.append(("time tags", f"{columns['time_ns'][0]}..{columns['time_ns'][-1]} ns"))
    return problems, rows


def _check_whole(n: int, rest: int) -> Found:
    if rest:
        yield "problem", f"{rest} bytes behind {n} readouts are part of none: it was cut short."


def _check_numbers(numbers: NDArray[np.uint64], times: NDArray[np.uint64]) -> Found:
    # A number that does not rise begins another run: a raw file is continued by whoever opens it.
    steps = np.diff(numbers.astype(np.int64))
    if lost := int((steps[steps > 1] - 1).sum()):
        yield "loss", f"{lost} readouts are missing, by their numbers."
    begun = steps < 1
    if n_begun := int(begun.sum()):
        yield "note", f"The numbers begin anew {n_begun} times: runs behind each other, or a count reset."
    back = int((times[1:] <= times[:-1])[~begun].sum())
    if back:
        yield "problem", f"{back} readouts have a time tag that is not behind the one before."


def _check_times(rest_ns: NDArray[np.uint64]) -> Found:
    if n := int((rest_ns >= _NS).sum()):
        yield "problem", f"{n} readouts arrived at a time with more than a second of nanoseconds."
