"""How much a disk ring keeps, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from forebay.errors import ConfigError
from forebay.pulse import PulseRange
from forebay.ring.memory import MAX_LOSSES


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """How much of the past a disk ring keeps, and how it treats the disk.

    Attributes
    ----------
    max_bytes:
        Data and indexes together stay below this, but for files that a reader still holds open.
    max_age_s:
        Segments whose newest record was written longer ago are dropped; None keeps them.
    segment_bytes:
        A segment is finished at this size, and dropped as a whole; by default a 64th of `max_bytes`,
        at least 1 MiB and at most 256 MiB, and never more than half.
    sync_s, sync_bytes:
        At the latest after this time, or so many bytes, what was written is on its way to the disk.
    unsynced_bytes:
        Writing waits while more than this is in the page cache only.
    """

    max_bytes: int
    max_age_s: float | None = None
    segment_bytes: int = 0
    sync_s: float = 1.0
    sync_bytes: int = 128 * 2**20
    unsynced_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        if not self.segment_bytes:
            usual = min(max(self.max_bytes // 64, 2**20), 2**28)
            object.__setattr__(self, "segment_bytes", min(usual, self.max_bytes // 2))
        if self.segment_bytes < 1 or self.max_bytes < 2 * self.segment_bytes:
            raise ConfigError(
                f"A disk ring of {self.max_bytes} bytes cannot have segments of {self.segment_bytes} bytes.",
                "Give max_bytes at least twice segment_bytes.",
            )
        for name in ("max_age_s", "sync_s", "sync_bytes", "unsynced_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} of a disk ring is {value}; it must be more than 0.")

    @property
    def segment_s(self) -> float:
        """Time after which a segment is finished although it is small, so that age has an effect."""
        return self.max_age_s / 16 if self.max_age_s else float("inf")


@dataclass(slots=True)
class DiskCounters:
    """What became of the records that were given to a ring: written + refused + not_written.

    `refused` are too large or carry an impossible pulse id or time, `not_written` found the disk full.
    `expired` records were dropped with their segments. `stalls` counts the waits for the disk and
    `stall_ns` their length. `synced` records would survive a loss of power. `disk_full` and
    `sync_errors` count refusals of the system; `last_error` says the last one.
    """

    written: int = 0
    written_bytes: int = 0
    refused: int = 0
    not_written: int = 0
    expired: int = 0
    synced: int = 0
    stalls: int = 0
    stall_ns: int = 0
    disk_full: int = 0
    sync_errors: int = 0
    last_error: str = ""


@dataclass(slots=True)
class ReadCounters:
    """What a reader did not get.

    `lost` records expired before they were read, within the stretches `lost_pulses` (the last
    `MAX_LOSSES` of them, as far as their ends are known); `damaged` ones have a wrong checksum.
    """

    lost: int = 0
    damaged: int = 0
    lost_pulses: list[PulseRange] = field(default_factory=list)

    def lose(self, n_records: int, first: int, last: int) -> None:
        """Count records that expired between two pulse ids."""
        self.lost += n_records
        if 0 <= first <= last:
            self.lost_pulses.append(PulseRange(first, last))
            del self.lost_pulses[:-MAX_LOSSES]
