"""Messages of a beam-synchronous stream into an HDF5 file that its readers know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from forebay.errors import StoreError, WireError
from forebay.event import Array, Event
from forebay.store import manifest as m
from forebay.store.channel_journal import ChannelJournal
from forebay.store.channel_layout import layout_of
from forebay.store.channel_manifest import ChannelManifest, ChannelRecording
from forebay.store.channel_tree import ChannelTree
from forebay.store.part import create, put_in_place, unclosed
from forebay.store.paths import explain, is_disk_full, part_of
from forebay.wire.bsread import BsreadArrays, Channel, Frame, Header, announce, describe, message

_HEADERS = 64  # numbers of headers that are kept; others are written to the journal again


@runtime_checkable
class Stamped(Protocol):
    """Arrays that have times of their own."""

    def timestamp_ns(self, name: str) -> int:
        """Return the time of an array, ns since 1970."""
        ...


class ChannelFile:
    """A sink for the channels of one stream; the file appears under its name at `close`, whole.

    An event is a message of bsread (`BsreadArrays`) or any mapping of named arrays; these may have times
    of their own (`Stamped`). `write` is for one thread. On its return a kill of this process does not
    lose the events.

    Parameters
    ----------
    path:
        The final name; nothing may exist there.
    recording:
        What the file is to hold, and in which layout.

    Raises
    ------
    StoreError
        If the file cannot be written, before any work starts.
    forebay.errors.ConfigError
        If there is no such layout.
    """

    def __init__(self, path: Path, recording: ChannelRecording) -> None:
        self.path = path
        self._layout = layout_of(recording.layout)
        if not recording.start_time:
            recording = msgspec.structs.replace(recording, start_time=m.now())
        self._journal, self._tree = create(
            path, lambda part: ChannelJournal(part, recording), lambda part: ChannelTree(part, recording)
        )
        self._numbers: OrderedDict[tuple[bytes, str | None], int] = OrderedDict()
        self._received = 0
        self._repeated = 0
        self._not_written: list[int] = []
        self._seen: tuple[int, int] | None = None
        self._last = -1
        self._failure: StoreError | None = None
        self._was_raised = False
        self._is_closed = False
        self._reason, self._failed = "stopped", ""
        self._last_pulse: int | None = None
        self._cut = 0
        self._counters = m.Counters()
        self.manifest: ChannelManifest | None = None

    def write(self, events: Sequence[Event]) -> None:
        """Take these events, oldest first.

        Events that repeat a pulse id, or go back, are counted as repeated and left out, unless the layout
        is one of values that come as they change. Events with arrays that cannot be stored are counted
        as not written.

        Raises
        ------
        StoreError
            If an event could not be written, or the file is closed; it and the rest are counted as
            not written.
        """
        for i, event in enumerate(events):
            if self._failure is not None or self._is_closed:
                self._received += len(events) - i
                self._not_written += [one.pulse_id for one in events[i:]]
                break
            self._take(event)
        if self._failure is not None or self._is_closed:
            self._was_raised = True
            raise self._failure or StoreError(f"The file {self.path} is closed.")

    def _take(self, event: Event) -> None:
        self._received += 1
        first, last = self._seen or (event.pulse_id, event.pulse_id)
        self._seen = min(first, event.pulse_id), max(last, event.pulse_id)
        if event.pulse_id <= self._last and not (
            self._layout.is_event_driven and event.pulse_id == self._last
        ):
            self._repeated += 1
            return
        try:
            header, frames = frames_of(event)
        except WireError:
            self._not_written.append(event.pulse_id)
            return
        try:
            self._store(event, header, frames)
        except Exception as error:  # noqa: BLE001 - write and close raise it
            self._not_written.append(event.pulse_id)
            self._failed = "disk full" if is_disk_full(error) else f"failed: {error}"
            self._failure = explain(error, f"Cannot write pulse {event.pulse_id} to {part_of(self.path)}")
            self._failure.__cause__ = error
            return
        self._last = event.pulse_id

    def _store(self, event: Event, header: Header, frames: Sequence[Frame]) -> None:
        accepted = self._tree.accept(header, event.pulse_id, event.time_ns, frames)
        self._journal.append(accepted, self._number(header))
        self._tree.add(accepted)

    def _number(self, header: Header) -> int:
        key = (header.frame, header.compression)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._journal.announce(header)
            if len(self._numbers) > _HEADERS:
                self._numbers.popitem(last=False)
        return number

    def conclude(
        self,
        reason: str,
        counters: m.Counters | None = None,
        *,
        requested: m.Request | None = None,
        last_pulse: int | None = None,
    ) -> None:
        """Say why the recording ends and what was counted before it; `close` writes it down.

        Parameters
        ----------
        requested:
            What was asked for in the end, where that became known after the start.
        last_pulse:
            What was written behind it is left out, and counted as cut.
        """
        self._reason = reason
        self._counters = counters or m.Counters()
        if requested is not None:
            self._tree.recording = msgspec.structs.replace(self._tree.recording, requested=requested)
        self._last_pulse = last_pulse

    def close(self) -> None:
        """Write all that was taken and put the file in its place; may be called twice.

        Raises
        ------
        StoreError
            If an event could not be written and `write` has not said so, or if the file could not be
            closed: the error then says how to recover it.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._last_pulse is not None:
                self._leave_out(self._last_pulse)
            counters = msgspec.structs.replace(self._counters, recorder=self.counters)
            self.manifest = self._tree.finish(
                counters, "recorder", self._failed or self._reason, self._seen, self._not_written
            )
            put_in_place(self.path)
        except Exception as error:
            raise unclosed(part_of(self.path), f"{self._tree.n} messages", error) from error
        finally:
            self._let_go()
        if self._failure is not None and not self._was_raised:
            raise self._failure

    def _leave_out(self, last_pulse: int) -> None:
        n = self._tree.n
        self._tree.cut(last_pulse)
        self._cut = n - self._tree.n
        if self._seen is not None:
            first, last = self._seen
            self._seen = None if first > last_pulse else (first, min(last, last_pulse))

    def _let_go(self) -> None:
        try:
            self._tree.close()
        except (OSError, RuntimeError) as error:
            raise unclosed(part_of(self.path), f"{self._tree.n} messages", error) from error
        finally:
            self._journal.close()

    @property
    def counters(self) -> dict[str, int]:
        """``received`` = ``written`` + ``repeated`` + ``not_written`` + ``cut``."""
        return {
            "received": self._received,
            "written": self._tree.n,
            "repeated": self._repeated,
            "not_written": len(self._not_written),
            "cut": self._cut,
        }


def frames_of(event: Event) -> tuple[Header, Sequence[Frame]]:
    """Return the data header of an event and the value and timestamp frames of its channels.

    Raises
    ------
    WireError
        If an array is of no type that bsread has.
    """
    arrays: Mapping[str, Array] = event.arrays
    if isinstance(arrays, BsreadArrays):
        return arrays.header, arrays.parts[2:]
    values = dict(arrays)
    header = _announced(tuple(describe(name, value) for name, value in values.items()))
    times = {name: arrays.timestamp_ns(name) for name in values} if isinstance(arrays, Stamped) else None
    return header, message(header, event.pulse_id, event.time_ns, values, times)[2:]


@lru_cache(maxsize=64)
def _announced(channels: tuple[Channel, ...]) -> Header:
    return announce(channels)
