"""The account of a file of channels: what became of every message and of every channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from forebay.store import manifest as m
from forebay.store.channel_layout import layout_of
from forebay.store.channel_manifest import (
    FORMAT,
    VERSION,
    ChannelAccount,
    ChannelManifest,
    ChannelRecording,
    listed,
)
from forebay.store.channel_rows import ChannelRows
from forebay.store.layout import CHECKSUM


class Tally:
    """What became of one channel so far.

    Attributes
    ----------
    missing:
        Pulse ids at which a value was due that has no row.
    first_pulse:
        Of the messages that announce it; -1 if it was asked for before any came.
    rows:
        Its groups, in the order of their making.
    """

    def __init__(self, missing: NDArray[np.int64], first_pulse: int = -1) -> None:
        self.missing = [missing]
        self.first_pulse = first_pulse
        self.refused = 0
        self.reason = ""
        self.rows: list[ChannelRows] = []

    def refuse(self, n: int, reason: str) -> None:
        """Count values that came but cannot be stored; the first reason is kept."""
        self.refused += n
        self.reason = self.reason or reason

    def cut(self, last_pulse: int) -> list[ChannelRows]:
        """Leave out what lies behind a pulse; return the groups that are empty then."""
        self.missing = [ids[ids <= last_pulse] for ids in self.missing]
        for rows in self.rows:
            rows.cut(last_pulse)
        empty = [rows for rows in self.rows if not rows.n]
        self.rows = [rows for rows in self.rows if rows.n]
        return empty

    def account(self, step: int) -> ChannelAccount:
        """Return the account; `step` is the distance of neighbouring pulses."""
        groups = {rows.path: rows.n for rows in self.rows}
        missing = listed(np.concatenate(self.missing), step)
        return ChannelAccount(sum(groups.values()), groups, missing, self.refused, self.reason)


def build_manifest(
    recording: ChannelRecording,
    tallies: Mapping[str, Tally],
    pulse_ids: NDArray[np.int64],
    counters: m.Counters,
    closed_by: m.ClosedBy,
    reason: str,
    end_time: str,
    seen: tuple[int, int] | None = None,
    not_written: Sequence[int] = (),
) -> ChannelManifest:
    """Return the manifest of a file that holds messages of these pulse ids.

    Parameters
    ----------
    counters:
        As they are now.
    seen:
        First and last pulse id that came, written or not; by default those in the file.
    not_written:
        Pulse ids of messages that came and are not in the file.
    """
    if seen is None and pulse_ids.size:
        seen = int(pulse_ids.min()), int(pulse_ids.max())
    expected = range(0)  # values that come as they change are expected at no pulse
    if not layout_of(recording.layout).is_event_driven:
        expected = m.expected_pulses(recording.requested, *(seen or (None, None)))
    return ChannelManifest(
        format=FORMAT,
        version=VERSION,
        software=m.software(),
        requested=recording.requested,
        sources={recording.source: m.account(expected, pulse_ids, not_written=list(not_written))},
        counters=m.CounterChange(recording.counters, counters, counters.since(recording.counters)),
        start_time=recording.start_time,
        end_time=end_time,
        compression="as received",
        checksum=CHECKSUM,
        closed_by=closed_by,
        reason=reason,
        configuration=recording.configuration,
        layout=recording.layout,
        channels={name: tally.account(expected.step) for name, tally in tallies.items()},
    )
