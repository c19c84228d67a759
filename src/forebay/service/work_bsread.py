"""The jobs *record* and *retrieve* of bsread streams: what is remembered, and what a job would write."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from forebay.config import Config
from forebay.errors import OverwrittenError, WireError
from forebay.pulse import PulseRange
from forebay.run.jobs import RecordParameters, RetrieveParameters
from forebay.run.owner import host_name
from forebay.run.values import Plan
from forebay.service.bsread_disk import bsread_on_disk, open_ring
from forebay.service.bsread_past import newest
from forebay.service.bsread_record import BsreadRecorder
from forebay.service.record import check_disk
from forebay.store.channel_manifest import ChannelManifest
from forebay.store.manifest import Request
from forebay.wire.bsread import BsreadArrays

FILE_BYTES, CHANNEL_BYTES, ROW_BYTES, CHUNK_ROWS = 32_768, 32_768, 25, 100
"""What a file has beside its values: in all, a channel, and a value (pulse id, time, whether it is there)."""

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


def _most_bytes(config: Config, asked: RecordParameters | RetrieveParameters) -> int | None:
    """Return the size of the file if all messages are as the newest on disk; None where nobody knows."""
    disk = config.bsread[asked.sources[0]].disk
    example = None if disk is None or asked.n_asked is None else newest(open_ring(disk.directory))
    if example is None or asked.n_asked is None or not isinstance(example.arrays, BsreadArrays):
        return None
    message = example.arrays
    total = FILE_BYTES
    for name in asked.channels or message.header.positions:
        if name not in message.header.positions:
            continue
        channel, came = message.channel(name), len(message.frame(name))
        try:
            value, is_image = max(channel.n_bytes, came), len(channel.array_shape) > 1
        except WireError:
            continue  # is not stored
        n_rows = asked.n_asked if is_image else math.ceil(asked.n_asked / CHUNK_ROWS) * CHUNK_ROWS
        total += CHANNEL_BYTES + n_rows * (value + ROW_BYTES)
    return total


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
        most_bytes=_most_bytes(config, asked),
        free_bytes=shutil.disk_usage(existing).free,
        held=None if span is None else str(span),
    )
