"""The jobs *record* and *retrieve* of bsread streams: what is remembered, and what a job would write."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from forebay.config import Config
from forebay.errors import OverwrittenError
from forebay.pulse import PulseRange
from forebay.run.jobs import RecordParameters, RetrieveParameters
from forebay.run.owner import host_name
from forebay.run.values import Plan
from forebay.service.bsread_disk import bsread_on_disk
from forebay.service.bsread_record import BsreadRecorder
from forebay.service.record import check_disk
from forebay.store.channel_manifest import ChannelManifest
from forebay.store.manifest import Request

MOST_CHANNELS = 100
"""Channels without a value that a result names; the manifest in the file names all."""


def is_of_bsread(config: Config, source: str) -> bool:
    """Whether a source is a bsread stream."""
    return source in config.bsread


def bsread_recorder(
    config: Config, asked: RecordParameters | RetrieveParameters, path: Path, request: Request
) -> BsreadRecorder:
    """Return the recording of a job; raises as `BsreadRecorder`, and if the disk is nearly full."""
    check_disk(config, path)
    name = asked.sources[0]
    return BsreadRecorder(config.bsread[name], name, path, request, asked.channels, idle_s=asked.idle_s)


def channels_of(manifest: ChannelManifest) -> dict[str, Any]:
    """Return how many channels a file has, and which ones had no value, the first `MOST_CHANNELS`."""
    empty = [name for name, one in manifest.channels.items() if not one.rows]
    return {"channels": len(manifest.channels) - len(empty), "empty_channels": empty[:MOST_CHANNELS]}


def plan_bsread(
    config: Config, asked: RecordParameters | RetrieveParameters, file: str, existing: Path
) -> Plan:
    """Return what a job would write into `file`; `OverwrittenError` if its pulses are known to be gone."""
    name = asked.sources[0]
    span = bsread_on_disk(config, name)
    pulses = None if asked.pulses is None else PulseRange.parse(asked.pulses)
    if pulses is not None and span is not None and pulses.last < span.first:
        raise OverwrittenError(
            f"Pulses {pulses} have left the ring on disk of {name}, which holds {span}.",
            f"Ask for newer pulses, or let it keep more: bsread.{name}.disk.",
        )
    return Plan(
        source=name,
        file=file,
        host=host_name(),
        n_asked=asked.n_asked,
        most_bytes=None,
        free_bytes=shutil.disk_usage(existing).free,
        held=None if span is None else str(span),
    )
