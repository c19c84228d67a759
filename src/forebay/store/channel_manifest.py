"""What a file of channels was asked to hold and what it holds, channel by channel."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.store import manifest as m

FORMAT = "forebay-channels"
VERSION = 1
MAX_RANGES = 100
"""Most ranges of missing pulses that are listed for one channel; their number is always whole."""


class ChannelRecording(msgspec.Struct, frozen=True):
    """What is known of a file of channels before the first message comes.

    Attributes
    ----------
    source:
        Name of the stream.
    layout:
        One of `forebay.store.channel_layout.LAYOUTS`.
    channels:
        Names of those to write; empty for every one that comes.
    general:
        Texts for the group ``/general``: ``created``, ``user``, ``process``, ``instrument``, others.
    """

    source: str
    layout: str = "bsread"
    channels: tuple[str, ...] = ()
    general: dict[str, str] = {}
    requested: m.Request = m.Request()
    configuration: dict[str, Any] = {}
    counters: m.Counters = m.Counters()
    start_time: str = ""


class ChannelAccount(msgspec.Struct, frozen=True):
    """What became of one channel.

    Attributes
    ----------
    rows:
        Values in the file.
    groups:
        Path -> rows: more than one where type or shape changed, none where no value came.
    missing:
        Pulses of messages in the file in which a value was due, by modulo and offset, but is not in the
        file. Only the first `MAX_RANGES` ranges are listed. Always empty where values come as they change.
    refused:
        Values that came and are not in the file since their bytes are wrong; they are missing too.
    reason:
        Of the first one refused.
    """

    rows: int
    groups: dict[str, int]
    missing: m.PulseSet
    refused: int = 0
    reason: str = ""


class ChannelManifest(m.Manifest, frozen=True, kw_only=True):
    """What a file of channels says of itself.

    ``sources`` holds one account, of the messages of the stream; the recorder's counters are
    ``received`` = ``written`` + ``repeated`` + ``not_written`` + ``cut`` (behind a last pulse that was named
    after they had come).
    """

    layout: str
    channels: dict[str, ChannelAccount]


def from_json(text: bytes | str) -> ChannelManifest:
    """Read a manifest; `forebay.errors.StoreError` if it is not one that this version knows."""
    return m.read_manifest(text, ChannelManifest, FORMAT, VERSION)


def listed(pulse_ids: NDArray[np.int64], step: int) -> m.PulseSet:
    """Return the missing pulses of a channel, of which `MAX_RANGES` ranges are listed."""
    pulses = m.pulse_set(pulse_ids, step)
    is_whole = pulses.is_whole and len(pulses.ranges) <= MAX_RANGES
    return m.PulseSet(pulses.n, pulses.ranges[:MAX_RANGES], is_whole)
