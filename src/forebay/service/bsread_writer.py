"""The writer process of bsread: started for an acquisition, driven by REST, ends when the file is whole."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from forebay.errors import ForebayError, RangeError, RingError, ServiceError
from forebay.event import Event
from forebay.front.bsread.arguments import WriterArguments, writer_arguments
from forebay.ports import Source
from forebay.service.bsread_disk import open_ring
from forebay.service.bsread_past import PastAndPresent
from forebay.service.bsread_silence import Audible
from forebay.service.bsread_window import Window
from forebay.service.privileges import become
from forebay.service.process import LOG, notify, say, service_life, warn
from forebay.service.pump import pump
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelManifest, ChannelRecording
from forebay.store.manifest import Counters, Request
from forebay.store.paths import contained, explain
from forebay.stream.bsread import BsreadInlet, address

NOWHERE: Final = "/dev/null"
"""As output file: take and count everything, write nothing."""

CLOSE_S: Final = 60.0
"""How long an answer to ``stop`` waits for the file."""

Connect = Callable[[int | None], Source]

_GENERAL = ("created", "user", "process", "instrument")
_POLL_S = 0.05
_MOST_RANGES = 10


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``sf_bsread_writer``: exit code 0 if the file is whole, 1 for an error, 2 for wrong arguments."""
    arguments = writer_arguments(words)
    with service_life("sf_bsread_writer", None) as stop:
        LOG.setLevel(arguments.log_level)
        serve(arguments, stop)
    sys.exit(0)


def serve(arguments: WriterArguments, stop: threading.Event) -> None:
    """Answer REST requests and write until the acquisition has ended or `stop`.

    Raises
    ------
    ForebayError
        If an argument, the port, the user id or the folder cannot be had, or the file could not be written.
    """
    try:
        from forebay.front.bsread.rest import writer_app
        from forebay.front.bsread.server import RestServer, open_rest_port
    except ModuleNotFoundError as error:
        raise ServiceError(
            f"The REST interface needs {error.name}, which is not installed.",
            "Run: pip install 'forebay[api]'",
        ) from error
    stream = address(arguments.stream_address)
    with open_rest_port(arguments.rest_port) as port:
        writer = Writer(arguments, _connection(arguments, stream))
        server = RestServer(writer_app(writer), port)
        if arguments.user_id is not None:
            become(arguments.user_id)
            if arguments.ring is not None:
                _check_readable(arguments.ring)
        _prepare(writer.target(arguments.output_file))
        server.start()
        notify("READY=1")
        say("waiting for requests", port=arguments.rest_port, stream=stream, file=arguments.output_file)
        while not stop.wait(_POLL_S) and not writer.ended.is_set():
            pass
        try:
            writer.stop()
        finally:
            server.close()
    if writer.reason:
        raise ServiceError(writer.reason)


def _connection(arguments: WriterArguments, stream: str) -> Connect:
    """Return what opens the stream: from the network alone, or from the buffer's ring on disk on."""

    def inlet() -> BsreadInlet:
        return BsreadInlet(stream, arguments.mode, hwm=10)

    directory = arguments.ring
    if directory is None:
        return lambda _first: inlet()
    open_ring(directory)  # so that a wrong path is met now
    return lambda first: inlet() if first is None else PastAndPresent(directory, inlet, first)


def _check_readable(ring: Path) -> None:
    """Say before anything is asked for that this user may not read the ring."""
    try:
        span = open_ring(ring).span
        say("ring on disk", directory=ring, holds=span)
    except RingError as error:
        user, group = os.getuid(), os.getgid()
        raise RingError(
            f"User {user} of group {group} may not read the buffer's ring: {error.what}",
            f"Start sf_bsread_buffer with --ring_group {group}, or another group of that user, "
            "and let that group enter the folders above.",
        ) from error


class Sink(Protocol):
    """A file in the making, as `ChannelFile` is."""

    manifest: ChannelManifest | None

    def write(self, events: Sequence[Event]) -> None:
        """See `forebay.ports.Sink.write`."""
        ...

    def conclude(
        self,
        reason: str,
        counters: Counters | None = None,
        *,
        requested: Request | None = None,
        last_pulse: int | None = None,
    ) -> None:
        """Say why the recording ends, and what it was to hold in the end."""
        ...

    def close(self) -> None:
        """Put the file in its place."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """What became of the events."""
        ...


class Writer:
    """One acquisition at a time; what the REST interface commands.

    Parameters
    ----------
    connect:
        Opens the stream from a pulse id on, or with what comes now (None); called at each start.

    Attributes
    ----------
    ended:
        Set when the process has nothing more to do.
    reason:
        Why the status is ``error``; else empty.
    """

    def __init__(self, arguments: WriterArguments, connect: Connect) -> None:
        self.ended = threading.Event()
        self.reason = ""
        self._arguments = arguments
        self._connect = connect
        self._lock = threading.RLock()
        self._parameters: dict[str, Any] = {}
        self._last_pulse: int | None = None
        self._window: Window | None = None
        self._file: Sink | None = None
        self._source: Source | None = None
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> str:
        """``waiting``, ``writing`` or ``error``."""
        if self._is_writing():
            return "writing"
        return "error" if self.reason else "waiting"

    @property
    def statistics(self) -> dict[str, object]:
        """What was asked for, what came last (pulse id and seconds), and counters beside."""
        window = self._window
        counters = dict(window.counters) if window else {}
        if self._file is not None:
            counters |= self._file.counters
        return {
            "start_pulse_id": window.first_pulse if window else None,
            "stop_pulse_id": window.last_pulse if window else self._last_pulse,
            "start_timestamp": _seconds(window.first_ns if window else None),
            "stop_timestamp": _seconds(window.last_ns if window else None),
            "last_pulse_id": window.last_pulse_id if window else -1,
            "last_timestamp": _seconds(window.last_time_ns if window else None),
            "counters": counters,
            "stream": dict(getattr(self._source, "counters", {})),
        }

    def set_parameters(self, parameters: dict[str, Any]) -> None:
        """Keep what the next file says of itself."""
        self._parameters = dict(parameters)

    def start(self, first_pulse: int) -> None:
        """Begin with this pulse id."""
        if self._last_pulse is not None and self._last_pulse < first_pulse:
            raise RangeError(
                f"Pulses {first_pulse}..{self._last_pulse} are reversed.", "Set the last pulse anew."
            )
        self._begin(self._arguments.output_file, first_pulse, None, persistent=False)

    def start_now(self, output_file: str | None) -> None:
        """Begin with messages of this moment; with a file of its own the process stays afterwards."""
        with self._lock:
            if output_file is not None and not self._is_writing():
                self._last_pulse = None
            target = output_file or self._arguments.output_file
            self._begin(target, None, time.time_ns(), persistent=output_file is not None)

    def set_last_pulse(self, last_pulse: int) -> None:
        """End with this pulse id; before a start it is that of the next acquisition."""
        with self._lock:
            if self._window is not None and self._is_writing():
                self._window.set_last_pulse(last_pulse)
            self._last_pulse = last_pulse
            say("last pulse set", pulse_id=last_pulse)

    def stop_now(self) -> None:
        """End with messages of this moment."""
        with self._lock:
            if self._window is None or not self._is_writing():
                raise ServiceError("Nothing is being written.", "Start first.")
            self._window.stop_now(time.time_ns())
            say("stopping with messages of now")

    def stop(self) -> None:
        """Write what has come, close the file, end the process; `ServiceError` if that takes too long."""
        self._end(lambda window: window.finish())

    def kill(self) -> None:
        """Close the file with what has come, end the process; `ServiceError` if that takes too long."""
        self._end(lambda window: window.abort("killed"))

    def target(self, text: str) -> Path | None:
        """Return the file that a text names, None for `NOWHERE`; `StoreError` if it lies outside the root."""
        if text == NOWHERE:
            return None
        root = self._arguments.root
        if root is None:
            return Path(text).absolute()
        path = Path(text)
        base = root.resolve()
        name = path.relative_to(base) if path.is_absolute() and path.is_relative_to(base) else path
        return contained(base, str(name))

    def _begin(self, text: str, first: int | None, first_ns: int | None, *, persistent: bool) -> None:
        with self._lock:
            if self._is_writing():
                raise ServiceError("A file is being written already.", "Stop it first.")
            if self.ended.is_set():
                raise ServiceError("This process has done its acquisition and ends.", "Start another one.")
            path = self.target(text)
            _make_folder(path)
            file: Sink = _Nowhere() if path is None else ChannelFile(path, self._recording(first))
            try:
                source = self._connect(first)
            except ForebayError:
                file.close()
                raise
            heard = Audible(source, self._arguments.stream_address, self._arguments.mode, warn)
            window = Window(heard, idle_s=self._arguments.idle_s, first_pulse=first, first_ns=first_ns)
            if self._last_pulse is not None:
                window.set_last_pulse(self._last_pulse)
            self.reason = ""
            self._window, self._file, self._source = window, file, source
            self._thread = threading.Thread(
                target=self._write, args=(window, source, file, persistent), name="write"
            )
            self._thread.start()
            say("writing", file=text, first_pulse=first)

    def _write(self, window: Window, source: Source, file: Sink, persistent: bool) -> None:
        """Record until the window ends; the body of a thread."""
        try:
            try:
                pump(window, [file], lambda: False, _POLL_S)
            finally:
                window.close()
                counts = getattr(source, "counters", {})
                counters = Counters(receiver={"stream": dict(counts)}, builder=dict(window.counters))
                requested = _request(window.first_pulse, window.last_pulse)
                file.conclude(window.reason, counters, requested=requested, last_pulse=window.last_pulse)
                file.close()
        except ForebayError as error:
            self.reason = str(error)
            say("the file is not whole", logging.ERROR, reason=error)
        except Exception as error:  # noqa: BLE001 - whoever asks by REST must get to know it
            self.reason = f"a fault of the writer's own: {error!r}"
            LOG.exception("failed")
        else:
            missing = _missing(file)
            level = logging.INFO if file.counters["received"] and not missing else logging.WARNING
            say("file closed", level, reason=window.reason, **file.counters, **window.counters, **missing)
            if not persistent:
                self.ended.set()

    def _end(self, command: Callable[[Window], None]) -> None:
        window, thread = self._window, self._thread
        if window is not None and thread is not None:
            command(window)
            thread.join(CLOSE_S)
            if thread.is_alive():
                raise ServiceError(
                    f"The file is not closed after {CLOSE_S:g} s.", "Look at the disk; ask again."
                )
        self.ended.set()

    def _is_writing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _recording(self, first: int | None) -> ChannelRecording:
        given = self._parameters
        return ChannelRecording(
            source=self._arguments.stream_address,
            general={key: str(given.get(f"general/{key}", "not given")) for key in _GENERAL},
            requested=_request(first, self._last_pulse),
        )


class _Nowhere:
    """Counts, and writes nothing."""

    def __init__(self) -> None:
        self.counters = {"received": 0}
        self.manifest: ChannelManifest | None = None

    def write(self, events: Sequence[Event]) -> None:
        self.counters["received"] += len(events)

    def conclude(
        self,
        reason: str,
        counters: Counters | None = None,
        *,
        requested: Request | None = None,
        last_pulse: int | None = None,
    ) -> None:
        """Nothing to write it to."""

    def close(self) -> None:
        """Nothing to close."""


def _missing(file: Sink) -> dict[str, object]:
    """Return how many pulses of those that were asked for are not in the file, and which; empty for none."""
    sources = file.manifest.sources.values() if file.manifest else ()
    n = sum(one.missing.n for one in sources)
    ranges = [text for one in sources for text in one.missing.ranges][:_MOST_RANGES]
    return {"missing": n, "missing_pulses": ", ".join(ranges)} if n else {}


def _request(first: int | None, last: int | None) -> Request:
    return Request(pulses=None if first is None or last is None else f"{first}..{last}")


def _prepare(path: Path | None) -> None:
    """Make the folder of a file; a file that is there already is told of before anybody counts on it."""
    _make_folder(path)
    if path is not None and path.exists():
        todo = "A start without another output_file will be refused: files are never overwritten."
        warn("the file exists", {"file": path, "todo": todo})


def _make_folder(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, f"The folder {path.parent} cannot be made") from error


def _seconds(time_ns: int | None) -> float | None:
    return None if time_ns is None else time_ns / 1e9
