"""The manifest: what a file was asked to hold, what it holds, what is missing and what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.pulse import PulseRange

FORMAT = "forebay-images"
VERSION = 1
MAX_LISTED = 10_000
"""Most ranges or incomplete pulses that a manifest lists; the counts beside the lists are always whole."""

Counts = dict[str, int]
ClosedBy = Literal["recorder", "recover"]


class Request(msgspec.Struct, frozen=True):
    """What was asked for: pulses, a number of images, a time, or as much as comes.

    Attributes
    ----------
    pulses:
        ``A..B`` or ``A..B/STEP``, both ends included.
    images:
        Number of images.
    seconds:
        Duration.
    pulse_step:
        Distance of neighbouring pulse ids; used where `pulses` does not say it.
    job:
        Id of the job that asked; empty where no job did.
    """

    pulses: str | None = None
    images: int | None = None
    seconds: float | None = None
    pulse_step: int = 1
    job: str = ""

    @property
    def range(self) -> PulseRange | None:
        """The pulses asked for, or None; `RangeError` if the text is not a range."""
        return None if self.pulses is None else PulseRange.parse(self.pulses)

    def __str__(self) -> str:
        if self.pulses is not None:
            return f"pulses {self.pulses}"
        if self.images is not None:
            return f"{self.images} images"
        return "until stopped" if self.seconds is None else f"{self.seconds:g} s"


class Counters(msgspec.Struct, frozen=True):
    """Counters of everything between the network and the file.

    Attributes
    ----------
    receiver:
        UDP port (as text) -> name -> count; names as in `forebay.ring.slots.RECEIVE_COUNTERS`.
    builder:
        Names as in `forebay.ring.slots.BUILD_COUNTERS`.
    recorder:
        ``received`` = ``written`` + ``not_written`` + ``overwritten``.
    """

    receiver: dict[str, Counts] = {}
    builder: Counts = {}
    recorder: Counts = {}

    def since(self, start: Counters) -> Counters:
        """Return how much every counter grew; names that `start` does not have count from 0."""
        return Counters(
            {port: _grown(now, start.receiver.get(port, {})) for port, now in self.receiver.items()},
            _grown(self.builder, start.builder),
            _grown(self.recorder, start.recorder),
        )


def _grown(now: Counts, before: Counts) -> Counts:
    return {name: value - before.get(name, 0) for name, value in now.items()}


class CounterChange(msgspec.Struct, frozen=True):
    """Counters when a recording started and ended, and their difference."""

    start: Counters
    end: Counters
    difference: Counters


class Recording(msgspec.Struct, frozen=True):
    """What is known of a file of images before the first one comes.

    Attributes
    ----------
    source:
        Name of the detector.
    shape:
        (row, column) of an image; the modules lie one below the other.
    dtype:
        ``uint8``, ``uint16`` or ``uint32``.
    n_modules, packets_per_module:
        As in the events.
    detector:
        Type of detector, e.g. ``jungfrau``.
    header:
        Name and format of every field of the detector's header; see `fields_of`.
    """

    source: str
    shape: tuple[int, int]
    dtype: str
    n_modules: int = 1
    packets_per_module: int = 0
    detector: str = ""
    header: tuple[tuple[str, str], ...] = ()
    compression: Literal["bitshuffle-lz4", "none"] = "bitshuffle-lz4"
    requested: Request = Request()
    configuration: dict[str, Any] = {}
    counters: Counters = Counters()
    start_time: str = ""
    gain: str | None = None
    pedestal: str | None = None


def fields_of(header: np.dtype[np.void]) -> tuple[tuple[str, str], ...]:
    """Return names and formats of a header's fields, as `Recording` wants them."""
    return tuple((name, header[name].str) for name in header.names or ())


class PulseSet(msgspec.Struct, frozen=True):
    """Some pulse ids: how many, and the first `MAX_LISTED` ranges that hold them, ends included."""

    n: int
    ranges: list[str]
    is_whole: bool = True


class IncompletePulse(msgspec.Struct, frozen=True):
    """One image of which packets are missing: module index (as text) -> packets."""

    pulse_id: int
    missing_packets: Counts


class SourceAccount(msgspec.Struct, frozen=True):
    """What became of one source's pulses.

    ``expected`` counts the pulses of the requested range or, where none was given, from the first to the
    last pulse seen. ``missing`` were expected and are not in the file; ``overwritten`` and
    ``not_written`` say which of them had come: they left the ring too early or found no room.
    """

    expected: int
    got: int
    missing: PulseSet
    overwritten: PulseSet
    not_written: PulseSet
    n_incomplete: int
    incomplete: list[IncompletePulse]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself."""

    format: str
    version: int
    software: str
    requested: Request
    sources: dict[str, SourceAccount]
    counters: CounterChange
    start_time: str
    end_time: str
    compression: str
    checksum: str
    closed_by: ClosedBy
    reason: str
    configuration: dict[str, Any]
    gain: str | None = None
    pedestal: str | None = None

    def to_json(self) -> bytes:
        """Return the manifest as it stands in a file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


_M = TypeVar("_M", bound=Manifest)


def from_json(text: bytes | str) -> Manifest:
    """Read the manifest of a file of images; `StoreError` if it is not one that this version knows."""
    return read_manifest(text, Manifest, FORMAT, VERSION)


def read_manifest(text: bytes | str, kind: type[_M], form: str, number: int) -> _M:
    """Read a manifest of this kind, format and version; `StoreError` if it is another."""
    try:
        manifest = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"The manifest cannot be read: {error}.") from error
    if (manifest.format, manifest.version) != (form, number):
        raise StoreError(
            f"The manifest is {manifest.format} {manifest.version}; this software reads {form} {number}.",
            "Use the version of forebay that is named in the manifest.",
        )
    return manifest


def software() -> str:
    """Return name and version of this software."""
    return f"forebay {version('forebay')}"


def now() -> str:
    """Return the time, UTC, as files write it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def expected_pulses(requested: Request, first: int | None, last: int | None) -> range:
    """Return the pulse ids that a file should hold.

    Parameters
    ----------
    requested:
        Its `pulses` decide if they are given.
    first, last:
        First and last pulse seen, both included; None if none came.
    """
    pulses = requested.range
    if pulses is not None:
        return range(pulses.first, pulses.last + 1, pulses.step)
    if first is None or last is None:
        return range(0)
    return range(first, last + 1, requested.pulse_step)


def pulse_set(pulse_ids: NDArray[np.integer[Any]], step: int = 1) -> PulseSet:
    """Return pulse ids (any order) as ranges of neighbours that lie `step` apart."""
    ids = np.unique(np.asarray(pulse_ids, np.int64))
    if not ids.size:
        return PulseSet(0, [])
    breaks = np.flatnonzero(np.diff(ids) != step)
    return _pulse_set(ids.size, ids[np.r_[0, breaks + 1]], ids[np.r_[breaks, ids.size - 1]], step)


def missing_pulses(expected: range, got: NDArray[np.integer[Any]]) -> PulseSet:
    """Return the expected pulse ids that were not got; costs grow with `got`, not with `expected`."""
    if not expected:
        return PulseSet(0, [])
    step, first, last = expected.step, expected[0], expected[-1]
    ids = np.unique(np.asarray(got, np.int64))
    ids = ids[(ids >= first) & (ids <= last)]
    ids = ids[(ids - first) % step == 0]
    n = (last - first) // step + 1 - ids.size
    if not ids.size:
        return _pulse_set(n, np.array([first]), np.array([last]), step)
    gaps = np.flatnonzero(np.diff(ids) != step)
    firsts, lasts = ids[gaps] + step, ids[gaps + 1] - step
    if ids[0] > first:
        firsts, lasts = np.r_[first, firsts], np.r_[ids[0] - step, lasts]
    if ids[-1] < last:
        firsts, lasts = np.r_[firsts, ids[-1] + step], np.r_[lasts, last]
    return _pulse_set(n, firsts, lasts, step)


def _pulse_set(n: int, firsts: NDArray[np.int64], lasts: NDArray[np.int64], step: int) -> PulseSet:
    ranges = list(islice(_texts(firsts, lasts, step), MAX_LISTED + 1))
    return PulseSet(int(n), ranges[:MAX_LISTED], len(ranges) <= MAX_LISTED)


def _texts(firsts: NDArray[np.int64], lasts: NDArray[np.int64], step: int) -> Iterator[str]:
    for first, last in zip(map(int, firsts), map(int, lasts), strict=True):
        if first % step == 0:
            yield f"{first}..{last}" + (f"/{step}" if step > 1 and first < last else "")
        else:  # a pulse range holds multiples of its step only
            yield from (f"{pulse_id}..{pulse_id}" for pulse_id in range(first, last + 1, step))


def pulse_ids(pulses: PulseSet) -> NDArray[np.int64]:
    """Return the listed pulse ids, rising."""
    ranges = [PulseRange.parse(text) for text in pulses.ranges]
    return np.concatenate([np.empty(0, np.int64), *(np.arange(r.first, r.last + 1, r.step) for r in ranges)])


def account(
    expected: range,
    got: NDArray[np.integer[Any]],
    incomplete: Sequence[IncompletePulse] = (),
    n_incomplete: int = 0,
    overwritten: Sequence[int] = (),
    not_written: Sequence[int] = (),
) -> SourceAccount:
    """Return what became of one source's pulses.

    Parameters
    ----------
    expected, got:
        Pulse ids asked for, and pulse ids in the file.
    incomplete, n_incomplete:
        Incomplete images, the first `MAX_LISTED` at most, and how many there are.
    overwritten, not_written:
        Pulse ids that came and are not in the file.
    """
    return SourceAccount(
        expected=(expected[-1] - expected[0]) // expected.step + 1 if expected else 0,
        got=int(got.size),
        missing=missing_pulses(expected, got),
        overwritten=pulse_set(np.asarray(overwritten, np.int64), expected.step),
        not_written=pulse_set(np.asarray(not_written, np.int64), expected.step),
        n_incomplete=n_incomplete,
        incomplete=list(incomplete[:MAX_LISTED]),
    )
