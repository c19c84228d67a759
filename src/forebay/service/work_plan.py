"""What a job would write, where and how large: found out on the host that would carry it out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forebay.config import Config
from forebay.errors import ConfigError, OverwrittenError, StoreError
from forebay.pulse import PulseRange
from forebay.run.jobs import (
    DEFAULT_FILE,
    CheckParameters,
    RecordParameters,
    RetrieveParameters,
    RoutineParameters,
    file_name,
    parse_parameters,
)
from forebay.run.owner import host_name
from forebay.run.values import Plan
from forebay.service.remembered import remembered
from forebay.service.tables import detector_config, packet_layout
from forebay.service.work_bsread import is_of_bsread, plan_bsread
from forebay.service.work_pvs import is_of_pvs, plan_pvs
from forebay.service.work_streams import is_streamed, plan_stream
from forebay.store.paths import check_free, contained


def plan(config: Config, kind: str, value: Mapping[str, Any], directory: Path) -> Plan:
    """Return what a job would write; nothing is created.

    Raises
    ------
    ForebayError
        If it cannot be carried out: the source is not received here, its pulses are gone, the file exists
        or leads out of the folder, the disk is too full, a file to be checked is not there, or the routine
        is not registered.
    """
    match parse_parameters(kind, value):
        case RecordParameters() | RetrieveParameters() as asked:
            return _plan_file(config, asked, directory)
        case CheckParameters(files=files):
            for path in (contained(directory, name) for name in files):
                if not path.is_file():
                    raise StoreError(f"There is no file {path} to check.", "See forebay files.")
            return _nothing(files[0] if len(files) == 1 else f"{len(files)} files", directory)
        case RoutineParameters(name=name):
            if name not in config.routines:
                known = ", ".join(config.routines) or "none"
                raise ConfigError(f"Routine {name!r} is not registered.", f"Registered are: {known}.")
            return _nothing(name, directory)


def _nothing(source: str, directory: Path) -> Plan:
    """Return the plan of a job that writes no file of a run."""
    return Plan(
        source=source,
        file="",
        host=host_name(),
        n_asked=None,
        most_bytes=0,
        free_bytes=shutil.disk_usage(_existing(directory)).free,
    )


def _plan_file(config: Config, asked: RecordParameters | RetrieveParameters, directory: Path) -> Plan:
    source = asked.sources[0]
    path = contained(directory, file_name(asked.file, 1, 1, source))
    existing = _existing(path.parent)
    _check_rights(existing)
    if existing == path.parent and "{" not in (asked.file or DEFAULT_FILE).replace("{source}", ""):
        check_free(path)
    pattern = str(directory.resolve() / (asked.file or DEFAULT_FILE).replace("{source}", source))
    if asked.channels and not is_of_bsread(config, source):
        raise ConfigError(
            f"Channels of {source} are asked for; only bsread streams have some.",
            "Ask for the streams in a request of their own, or leave channels out.",
        )
    if is_of_pvs(config, source):
        return plan_pvs(config, asked, pattern, existing)
    if is_of_bsread(config, source):
        planned = plan_bsread(config, asked, pattern, existing)
        _check_room(existing, planned.free_bytes, planned.most_bytes or 0, config.record.min_free_bytes)
        return planned
    if is_streamed(config, source):
        planned = plan_stream(config, asked, pattern, existing)
        _check_room(existing, planned.free_bytes, planned.most_bytes or 0, config.record.min_free_bytes)
        return planned
    layout = packet_layout(detector := detector_config(config, source))
    pulses = None if asked.pulses is None else PulseRange.parse(asked.pulses)
    span = remembered(config, source, pulses)
    _check_past(source, pulses, span)
    image_bytes = layout.frame_bytes * detector.n_modules
    most = None if asked.n_asked is None else asked.n_asked * image_bytes
    free = shutil.disk_usage(existing).free
    _check_room(existing, free, most or 0, config.record.min_free_bytes)
    return Plan(
        source=source,
        file=pattern,
        host=host_name(),
        n_asked=asked.n_asked,
        most_bytes=most,
        free_bytes=free,
        held=None if span is None else str(span),
    )


def _check_past(source: str, pulses: PulseRange | None, span: PulseRange | None) -> None:
    if pulses is not None and span is not None and pulses.last < span.first:
        raise OverwrittenError(
            f"Pulses {pulses} have left the rings of {source}, which hold {span}.",
            "Ask for newer pulses, or give the ring more slots, or the detector a buffer on disk.",
        )


def _check_rights(existing: Path) -> None:
    if not existing.is_dir():
        raise StoreError(f"{existing} is a file, and was to be a folder.", "Give another name.")
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        raise StoreError(
            f"Uid {os.geteuid()} of the worker on {host_name()} may not write in {existing}.",
            "Give it the right to, or name another folder: record.directory, or that of the proposal.",
        )


def _check_room(existing: Path, free: int, most: int, least: int) -> None:
    if free < least + most:
        raise StoreError(
            f"{existing} has {free / 1e9:.2f} GB free; this may need {most / 1e9:.2f} GB and "
            f"{least / 1e9:.2f} GB are to stay free.",
            "Free some space, ask for less, or lower record.min_free_bytes.",
        )


def _existing(directory: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (directory, *directory.parents) if path.exists())
