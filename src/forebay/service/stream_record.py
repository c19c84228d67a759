"""Recording what only streams: readouts of a camera, blocks of boards, as the service of each sends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from forebay.config import Config
from forebay.event import Event
from forebay.ports import Sink
from forebay.service import boards, camera
from forebay.service.account import Account
from forebay.service.larpix_record import record
from forebay.service.pump import pump
from forebay.service.select import Selected
from forebay.store.larpix_chips import packed, read_chips
from forebay.store.larpix_file import LarpixFile
from forebay.store.larpix_manifest import Board, LarpixRecording
from forebay.store.manifest import Counters, Request
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.stream.zmq import Subscriber
from forebay.wire.pacman_batch import messages_of

_File = TypeVar("_File")

_LATE_S = 1.0
_DRAIN_S = 1.0  # at most; what had arrived by the stop is on its way for a few ms
_QUIET_S = 0.1
_MOST = 256  # blocks that are written together


class StreamRecording(Protocol):
    """A recording of one source into one file."""

    @property
    def counters(self) -> dict[str, int]:
        """What was received, written and not written, in the unit of the source; `lost_on_the_way`."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Record until all asked for is there, or `stop`; the file is closed then, whatever happens.

        Raises
        ------
        StoreError
            If it could not be written; what had been written before is kept.
        """
        ...


def stream_recording(
    config: Config, source: str, path: Path, request: Request, idle_s: float, run: int | None
) -> StreamRecording:
    """Begin to listen, and make the part of the file.

    Parameters
    ----------
    idle_s:
        The recording ends when nothing has come for so long.
    run:
        Number of the run, where the file says it.

    Raises
    ------
    ConfigError, StoreError
        If there is no such source, or the file cannot be written.
    """
    kind = CameraRecording if source in config.cameras else BoardsRecording
    return kind(config, source, path, request, idle_s, run)


class CameraRecording:
    """Readouts of one camera; see `StreamRecording`. Readouts are counted."""

    def __init__(
        self,
        config: Config,
        source: str,
        path: Path,
        request: Request,
        idle_s: float,
        run: int | None,
    ) -> None:
        asked = camera.camera_config(config, source)
        self._request, self._idle_s = request, idle_s
        self._late_s = asked.deadline_s + _LATE_S
        self._inlet = Subscriber(camera.readout_stream(config, source), hwm=camera.HWM)
        self._account = Account(camera.account_of(config, source))
        recording = ReadoutRecording(
            counters=self._account.start,
            source=source,
            generation=asked.generation,
            compression=asked.compression,
            attributes={} if run is None else {"run": run},
            requested=request,
            configuration=asked.model_dump(mode="json"),
        )
        self._file = _opened(self._inlet, lambda: ReadoutFile(path, recording))

    @property
    def counters(self) -> dict[str, int]:
        """See `StreamRecording`."""
        return self._file.counters | of_stream(self._inlet.counters)

    def run(self, stop: threading.Event) -> None:
        """See `StreamRecording`."""
        selected = Selected(self._inlet, self._request, idle_s=self._idle_s, late_s=self._late_s)
        try:
            pump(selected, [self._file], stop.is_set)
            if not selected.reason:
                _drain(selected, self._file, time.time_ns())
        finally:
            self._file.conclude(selected.reason or "stopped", _with_stream(self._account, self._inlet))
            self._inlet.close()
            self._file.close()


def _drain(source: Selected, sink: Sink, last_ns: int) -> None:
    """Write what had arrived on this host by `last_ns` and is still on its way."""
    end = time.monotonic() + _DRAIN_S
    while time.monotonic() < end and (events := source.read(_QUIET_S)):
        before = [event for event in events if event.time_ns <= last_ns]
        began = time.monotonic()
        sink.write(before)
        if len(before) < len(events):
            return
        end += time.monotonic() - began  # a slow disk takes nothing from what is on its way


class BoardsRecording:
    """Blocks of a set of boards; see `StreamRecording`. Words are counted; ``lost`` are blocks."""

    def __init__(
        self,
        config: Config,
        source: str,
        path: Path,
        request: Request,
        idle_s: float,
        run: int | None,
    ) -> None:
        asked = boards.boards_config(config, source)
        self._seconds, self._idle_s, self._drain_s = request.seconds, idle_s, asked.drain_s
        names = [one.name for one in asked.members]
        self._blocks = _Blocks(Subscriber(boards.block_stream(config, source), hwm=boards.HWM), names)
        self._account = Account(boards.account_of(config, source))
        recording = LarpixRecording(
            counters=self._account.start,
            form=asked.form,
            format_version=asked.format_version,
            boards={one.name: Board(one.io_group, one.asic) for one in asked.members},
            run=run,
            data_stream=source,
            chips=read_chips(asked.chip_configs) if asked.chip_configs else (),
            daq_configs=packed(asked.embed) if asked.embed else b"",
            requested=request,
            configuration=asked.model_dump(mode="json"),
        )
        self._file = _opened(self._blocks, lambda: LarpixFile(path, recording, self._received))

    def _received(self) -> Counters:
        return _with_stream(self._account, self._blocks)

    @property
    def counters(self) -> dict[str, int]:
        """See `StreamRecording`."""
        words = {
            name.removeprefix("words_"): n
            for name, n in self._file.counters.items()
            if name.startswith("words_")
        }
        return words | of_stream(self._blocks.counters)

    def run(self, stop: threading.Event) -> None:
        """See `StreamRecording`."""
        reason = "stopped"
        end = None if self._seconds is None else time.monotonic() + self._seconds

        def is_over() -> bool:
            nonlocal reason
            now = time.monotonic()
            if end is not None and now >= end:
                reason = "time over"
            elif now - self._blocks.heard > self._idle_s:
                reason = f"nothing came for {self._idle_s:g} s"
            return stop.is_set() or reason != "stopped"

        try:
            record(self._blocks, [self._file], is_over, patience=self._drain_s)
        finally:
            self._file.conclude(reason)
            self._blocks.close()
            self._file.close()


class _Blocks:
    """Blocks from the boards service, numbered on where that was started again.

    Attributes
    ----------
    heard:
        When something came last: seconds of the monotonic clock.
    """

    def __init__(self, inlet: Subscriber, names: Sequence[str]) -> None:
        self.heard = time.monotonic()
        self._inlet = inlet
        self._seconds = dict.fromkeys(names, 0)
        self._n_lives = 0
        self._next: dict[str, int] = {}
        self._behind: dict[str, int] = {}

    @property
    def last_seconds(self) -> dict[str, int]:
        """See `forebay.service.larpix_record.Messages`."""
        return self._seconds

    @property
    def counters(self) -> dict[str, int]:
        """As `forebay.stream.inlet.Inlet.counters`."""
        return self._inlet.counters

    def read(self, timeout: float) -> Sequence[Event] | None:
        """See `forebay.ports.Source.read`."""
        events: list[Event] = []
        for _ in range(_MOST):
            found = self._inlet.read(timeout, most=1)
            if found is None:
                return events or None
            if not found:
                break
            events += [self._follow(event) for event in found]
            timeout = 0.0
        if events:
            self.heard = time.monotonic()
        return events

    def _follow(self, event: Event) -> Event:
        """Return the block numbered on from the life of the service before; remember its second."""
        name = event.source
        arrays = messages_of(event)
        if arrays.batch.n_messages:
            self._seconds[name] = int(arrays.batch.seconds[-1])
        if self._n_lives != (n_lives := self._inlet.counters["senders"]):
            self._n_lives = n_lives
            self._behind.clear()
        if name not in self._behind:
            self._behind[name] = self._next.get(name, event.pulse_id) - event.pulse_id
        number = event.pulse_id + self._behind[name]
        self._next[name] = number + 1
        return Event(name, number, event.time_ns, arrays, event.missing_packets)

    def close(self) -> None:
        """Let go of the stream."""
        self._inlet.close()


def of_stream(counters: Mapping[str, int]) -> dict[str, int]:
    """Return ``lost``, events that the service sent and that did not come, and its ``restarts``."""
    return {"lost": counters.get("lost", 0), "restarts": max(0, counters.get("senders", 0) - 1)}


def _with_stream(account: Account, stream: Subscriber | _Blocks) -> Counters:
    """Return what the service has counted, and what came of it."""
    told = account.end()
    return Counters({**told.receiver, "stream": dict(stream.counters)}, told.builder)


def _opened(stream: Subscriber | _Blocks, open_file: Callable[[], _File]) -> _File:
    """Return the file; where it cannot be made, let go of the stream."""
    try:
        return open_file()
    except BaseException:
        stream.close()
        raise
