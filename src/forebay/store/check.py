"""Is a file what it says it is: every layout's checks, each listable and skippable by name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import h5py

from forebay.errors import ConfigError
from forebay.store.check_channels import CHANNELS
from forebay.store.check_images import IMAGES
from forebay.store.check_larpix import LARPIX
from forebay.store.check_raw import CHECKS as RAW_CHECKS
from forebay.store.check_raw import check_raw, raw_kind
from forebay.store.check_readouts import READOUTS
from forebay.store.check_sof import CHECKS as SOF_CHECKS
from forebay.store.check_sof import check_sof, is_sof
from forebay.store.report import MAX_PROBLEMS, Check, Chunk, Layout, Problem, Report
from forebay.store.unchecked import what_instead

LAYOUTS: dict[str, Layout] = {**CHANNELS, **LARPIX, "readouts": READOUTS, "images": IMAGES}
"""Every kind of file that can be checked, by name."""

_OPEN = (
    Check("closed", "The file was finished: it does not end in .part, and HDF5 opens it."),
    Check("layout", "The file has a layout that this software knows."),
)
_UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError)  # what h5py raises on damage
_BATCH = 32  # images that are read before they are looked at in threads


def checks() -> dict[str, str]:
    """Return name and one-line description of every check of every layout."""
    every = [*_OPEN, *(check for layout in LAYOUTS.values() for check in layout.checks)]
    return {check.name: check.description for check in every} | {**SOF_CHECKS, **RAW_CHECKS}


def check_file(path: Path, skip: Collection[str] = (), every: int = 1, threads: int = 2) -> Report:
    """Check one file.

    Parameters
    ----------
    path:
        The file; it is only read.
    skip:
        Names of checks to leave out; ``missing-pulses``, ``incomplete-images`` and ``not-written`` are
        those that complain of losses which the file itself declares.
    every:
        Look at the stored bytes of every n-th image only.
    threads:
        Threads that decompress.

    Raises
    ------
    ConfigError
        If `skip` names no check.
    """
    known = checks()
    if unknown := [name for name in skip if name not in known]:
        raise ConfigError(f"There is no check {unknown[0]!r}.", f"The checks are: {', '.join(known)}.")
    if every < 1:
        raise ConfigError(f"Every {every}-th image cannot be checked.", "Give 1 or more.")
    opened = [check.name for check in _OPEN if check.name not in skip]
    if path.name.endswith(".part"):
        return _unreadable(path, opened, f"It is still being written, or: forebay recover {path}")
    if is_sof(path) and path.is_file():
        return check_sof(path, skip, opened)
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        if path.is_file() and not h5py.is_hdf5(path) and (kind := raw_kind(path)):
            return check_raw(path, kind, skip, opened)
        return _unreadable(path, opened, _why_not(path, error))
    try:
        with file:
            for name, layout in LAYOUTS.items():
                if layout.is_mine(file):
                    return _check(path, file, name, layout, opened, skip, every, threads)
    except _UNREADABLE as error:
        return _unreadable(path, opened, f"It is damaged: {error}")
    problem = Problem("layout", "problem", f"Its layout is none of {', '.join(LAYOUTS)}.")
    return Report(str(path), "", [], [problem], opened, [])


def _why_not(path: Path, error: Exception) -> str:
    if not path.exists():
        return "There is no such file: name one that exists."
    if path.is_dir():
        return "It is a directory: name the files in it."
    if not os.access(path, os.R_OK):
        return "It may not be read: ask its owner for the right to."
    if path.stat().st_size and not h5py.is_hdf5(path):
        return what_instead(path) or "It is not an HDF5 file, nor any other that has checks."
    return f"HDF5 cannot open it, it is damaged or cut short: use another copy. ({error})"


def _unreadable(path: Path, opened: list[str], message: str) -> Report:
    return Report(str(path), "", [], [Problem("closed", "problem", message)], opened, [])


def _check(
    path: Path,
    file: h5py.File,
    name: str,
    layout: Layout,
    opened: list[str],
    skip: Collection[str],
    every: int,
    threads: int,
) -> Report:
    mine = [check for check in layout.checks if check.name not in skip]
    subject = layout.open(path, file)
    problems: list[Problem] = []
    for check in mine:
        if check.run is not None:
            problems += _bounded(check.name, (_problem(check, *found) for found in check.run(subject)))
    on_chunks = [check for check in mine if check.run_chunk is not None]
    if on_chunks:
        problems += _check_chunks(subject, on_chunks, layout.chunks(subject, every), threads)
    return Report(
        path=str(path),
        layout=name,
        rows=layout.rows(subject),
        problems=problems,
        checks=opened + [check.name for check in mine],
        skipped=sorted(skip),
    )


def _problem(check: Check, severity: Any, pulse_id: int | None, message: str) -> Problem:
    return Problem(check.name, severity, message, pulse_id)


def _check_chunks(
    subject: Any, on_chunks: list[Check], chunks: Iterator[Chunk], threads: int
) -> Iterable[Problem]:
    def look(chunk: Chunk) -> list[Problem]:
        return [
            _problem(check, *found)
            for check in on_chunks
            if check.run_chunk is not None
            for found in check.run_chunk(subject, chunk)
        ]

    found: dict[str, list[Problem]] = {check.name: [] for check in on_chunks}
    n_more = dict.fromkeys(found, 0)
    with ThreadPoolExecutor(threads, "check") as pool:
        while batch := list(islice(chunks, _BATCH)):
            for problem in (problem for problems in pool.map(look, batch) for problem in problems):
                if len(found[problem.check]) < MAX_PROBLEMS:
                    found[problem.check].append(problem)
                else:
                    n_more[problem.check] += 1
    for name, problems in found.items():
        yield from problems
        yield from _more(name, n_more[name])


def _bounded(name: str, problems: Iterator[Problem]) -> Iterator[Problem]:
    yield from islice(problems, MAX_PROBLEMS)
    yield from _more(name, sum(1 for _ in problems))


def _more(name: str, n: int) -> Iterator[Problem]:
    if n:
        yield Problem(name, "problem", f"{n} more of them.")
