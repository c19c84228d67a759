"""Recording one bsread stream: what a request asks for, past or to come, from its buffer into a file."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from forebay.config import BsreadConfig
from forebay.errors import RingError, StoreError
from forebay.event import Event
from forebay.ports import Source
from forebay.pulse import MAX_PULSE_ID, PulseRange
from forebay.retrieve import Retrieval, Stream
from forebay.ring.epoch import EpochCounter
from forebay.service.bsread_disk import open_ring
from forebay.service.bsread_past import Filled, Inlet
from forebay.service.bsread_window import LATE_S, SETTLE_S, Window
from forebay.service.pump import pump
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelManifest, ChannelRecording
from forebay.store.manifest import Counters, Request
from forebay.store.paths import make_folder
from forebay.stream.bsread import BsreadInlet

_HWM: Final = 10
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class BsreadProgress:
    """How a recording stands.

    Attributes
    ----------
    n_asked:
        Messages asked for; None where only time or the stop ends it.
    n_written, n_repeated, n_not_written:
        Messages in the file, messages that had come before, and messages that could not be stored.
    last_pulse:
        Of the newest message that belongs to it; -1 before.
    free_bytes:
        Free space where the file is written.
    """

    seconds: float
    n_asked: int | None
    n_written: int
    n_repeated: int
    n_not_written: int
    last_pulse: int
    free_bytes: int


class BsreadRecorder:
    """One recording of one stream; messages are sorted by pulse id as far as they come within 0.2 s.

    A range comes from the ring on disk, the buffer's memory and what the buffer sends, as far as it is
    needed. A number, a time, and what is recorded until somebody stops it begin with the next message. A
    time is measured by the times that the source gives its messages, from the first one on.

    Parameters
    ----------
    request:
        What to record; exactly one of pulses, images, seconds, or none: until stopped.
    channels:
        Names of those to write; empty for every one that comes.
    idle_s:
        The recording ends when nothing has come for so long.

    Raises
    ------
    OverwrittenError
        If all pulses asked for have expired.
    RingError
        If the stream is to have a ring on disk and there is none.
    StoreError
        If the file cannot be written.
    """

    def __init__(
        self,
        config: BsreadConfig,
        name: str,
        path: Path,
        request: Request,
        channels: Sequence[str] = (),
        *,
        idle_s: float = 10.0,
    ) -> None:
        self.path = path
        self._config, self._name, self._request = config, name, request
        self._disk = None if config.disk is None else open_ring(config.disk.directory)
        self._inlet: Inlet | None = None
        self._retrieval: Retrieval | None = None
        self._stop = threading.Event()
        self._reason = ""
        source: Source
        if request.range is None:
            source, wait_s = self._from_now_on(), idle_s
        else:
            source, wait_s = self._pulses(request.range, idle_s), math.inf
        self._source = source
        self._window = Window(source, idle_s=wait_s)
        self._window.set_last_pulse(MAX_PULSE_ID)  # it is here to sort; the end is found otherwise
        try:
            make_folder(path.parent)
            recording = ChannelRecording(
                source=name,
                layout=config.layout,
                channels=tuple(channels),
                requested=request,
                configuration=config.model_dump(mode="json"),
            )
            self._file = ChannelFile(path, recording)
        except BaseException:
            source.close()
            raise
        self._began = time.monotonic()

    def run(self, stop: threading.Event) -> ChannelManifest:
        """Record until the request is fulfilled or `stop`; return what the file says of itself.

        What was on its way at the stop is taken, for half a second at most. If the ring on disk fails, the
        file ends there and says so.

        Raises
        ------
        StoreError
            If the disk fails; what is whole is kept, and the error says where.
        """
        self._stop = stop
        try:
            self._record()
        except StoreError as error:
            if self._file.manifest is not None:
                n = self._file.counters["written"]
                error.todo = f"{error.todo} What is whole, {n} messages, is kept in {self.path}.".strip()
            raise
        assert self._file.manifest is not None
        return self._file.manifest

    def _record(self) -> None:
        try:
            pump(self, [self._file], lambda: False, _POLL_S)
        except RingError as error:
            self._reason = f"failed: {error}"
        finally:
            self._file.conclude(self._reason or "stopped", self._counters())
            self._source.close()
            self._file.close()

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return the next messages of the request; see `forebay.ports.Source.read`."""
        images = self._request.images
        n_left = None if images is None else images - self._file.counters["written"]
        if n_left == 0:
            self._reason = "count reached"
            return None
        self._look_at_the_time()
        if self._stop.is_set():
            self._window.finish()
        events = self._window.read(timeout)
        if events is None:
            self._reason = self._why()
            return None
        return events[:n_left]

    def close(self) -> None:
        """Nothing more: `run` closes stream and file, whatever happened."""

    def _look_at_the_time(self) -> None:
        seconds, window = self._request.seconds, self._window
        if seconds is None:
            return
        if window.last_ns is None and window.begun_ns is not None:
            window.last_ns = window.begun_ns + int(seconds * 1e9) - 1
        if time.monotonic() > self._began + seconds + LATE_S:
            window.finish()

    def _why(self) -> str:
        """Return why it ended, once the window has."""
        reason = self._window.reason
        if self._retrieval is not None and reason == "the source ended":
            is_gone = self._retrieval.reason == "last pulse" and not self._retrieval.report.got
            return "failed: none of these pulses is left, or came" if is_gone else self._retrieval.reason
        if reason == "the source ended":
            return "the pulse counter restarted"
        is_over = reason == "last pulse" or (reason == "stopped" and not self._stop.is_set())
        return "time over" if self._request.seconds is not None and is_over else reason

    @property
    def progress(self) -> BsreadProgress:
        """How the recording stands; may be asked from another thread."""
        counts, asked = self._file.counters, self._request.range
        return BsreadProgress(
            seconds=time.monotonic() - self._began,
            n_asked=len(asked) if asked is not None else self._request.images,
            n_written=counts["written"],
            n_repeated=counts["repeated"],
            n_not_written=counts["not_written"],
            last_pulse=self._window.last_pulse_id,
            free_bytes=shutil.disk_usage(self.path.parent).free,
        )

    def _counters(self) -> Counters:
        stream = dict(self._inlet.counters) if self._inlet is not None else {}
        if self._retrieval is not None:
            report = self._retrieval.report
            stream |= {"from_past": report.from_past, "from_live": report.from_live}
        return Counters(receiver={"stream": stream}, builder=dict(self._window.counters))

    def _pulses(self, pulses: PulseRange, idle_s: float) -> Retrieval:
        """Return the source of a range; connects when what is on disk has been read."""
        disk = self._disk

        def live() -> Source:
            newest = None if disk is None else disk.span
            is_to_come = newest is not None and newest.last < pulses.first  # then leave the memory alone
            inlet = self._inlet = self._connected("sub" if is_to_come else "pull")
            return inlet if disk is None else Filled(inlet, disk, pulses.first)

        stream = Stream(self._name, () if disk is None else (disk,), live)
        self._retrieval = Retrieval(stream, pulses, idle_s=idle_s, settle_s=SETTLE_S)
        return self._retrieval

    def _from_now_on(self) -> Source:
        self._inlet = _Coming(self._connected("sub"))
        return self._inlet if self._disk is None else Filled(self._inlet, self._disk, 0)

    def _connected(self, mode: Literal["pull", "sub"]) -> BsreadInlet:
        return BsreadInlet(self._config.output, mode, hwm=_HWM, source=self._name)


class _Coming:
    """A buffer's messages after the newest, with which it begins, until the counter restarts."""

    def __init__(self, inlet: Inlet) -> None:
        self._inlet = inlet
        self._begun = False
        self._epochs = EpochCounter()

    @property
    def counters(self) -> dict[str, int]:
        return self._inlet.counters

    def read(self, timeout: float) -> Sequence[Event] | None:
        if self._epochs.epoch:
            return None
        came = self._inlet.read(timeout)
        if not came:
            return came
        events = [event for event in came if not self._epochs.place(event.pulse_id, event.time_ns)]
        if not self._begun:
            self._begun = True
            return events[1:]
        return events

    def close(self) -> None:
        self._inlet.close()
