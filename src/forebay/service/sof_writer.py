"""Writers of SSDAQ 0.9: triggers, time stamps and logs from a publisher into ``.sof`` files."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forebay.errors import ForebayError
from forebay.service.draining import until_stopped
from forebay.service.process import say
from forebay.store.readout_series import begun_at_free, check_series, names
from forebay.store.sof_file import SofFile
from forebay.store.sof_manifest import manifest_path
from forebay.stream.messages import MessageListener
from forebay.wire.sof import Kind

_MIB = 2**20


class SofWriter(threading.Thread):
    """Listens to a publisher and writes its messages, in a thread of its own.

    What came is in the file after a second: a kill of the process loses no more than that.

    Parameters
    ----------
    kind:
        What the messages are.
    file_enumerator:
        ``date``, ``order`` or None.
    filesize_lim:
        Bytes of messages behind which the next file begins, MiB.

    Raises
    ------
    ConfigError
        If the enumeration or the limit is none that there is, the prefix has a folder in it, or the address
        is none.
    StoreError
        If no file can be made in the folder.

    Attributes
    ----------
    paths:
        Files begun, in order.
    failure:
        Why it ended by itself; None if it did not.
    """

    def __init__(
        self,
        kind: Kind,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path = "",
        file_enumerator: str | None = None,
        filesize_lim: float | None = None,
    ) -> None:
        super().__init__(name=f"{kind.name.lower()} writer", daemon=True)
        self._kind = kind
        self._folder, self._prefix = Path(folder or "."), file_prefix
        self._enumeration: Any = file_enumerator or "none"
        check_series(self._folder, file_prefix, self._enumeration, filesize_lim)
        self._limit_bytes = filesize_lim and filesize_lim * _MIB
        self._listener = MessageListener(ip, port)
        self._stop_asked = threading.Event()
        self._source = f"{ip}:{port}"
        self._file: SofFile | None = None
        self._n_bytes = self._n_received = self._n_closed = 0
        self.paths: list[Path] = []
        self.failure: ForebayError | None = None

    @property
    def n_written(self) -> int:
        """Messages written, or, of the file that is open, taken."""
        return self._n_closed + (self._file.n if self._file is not None else 0)

    @property
    def counters(self) -> dict[str, int]:
        """How many messages came: ``received = written + not_written``."""
        received, written = self._n_received, self.n_written
        return {"received": received, "written": written, "not_written": max(received - written, 0)}

    def run(self) -> None:
        """Write until `close`; started by `start`."""
        try:
            for messages in until_stopped(self._listener.read, self._stop_asked):
                if messages:
                    self._write(messages)
                elif self._file is not None:
                    self._file.tick()
        except ForebayError as error:
            self._fail(error)
        finally:
            self._listener.close()
            try:
                self._end_file()
            except ForebayError as error:
                self._fail(error)

    def _fail(self, error: ForebayError) -> None:
        self.failure = self.failure or error
        say("messages are not written any more", logging.ERROR, reason=error)

    def _write(self, messages: list[bytes]) -> None:
        self._n_received += len(messages)
        if self._limit_bytes and self._n_bytes >= self._limit_bytes:
            self._end_file()
        if self._file is None:
            self._file, self._n_bytes = self._begun(), 0
            self.paths.append(self._file.path)
        self._file.append(messages)
        self._n_bytes += sum(map(len, messages))

    def _begun(self) -> SofFile:
        found = names(self._prefix, self._enumeration, "B", lambda: datetime.now(UTC), ".sof")
        without_manifest = (name for name in found if not manifest_path(self._folder / name).exists())
        return begun_at_free(
            self._folder, without_manifest, lambda path: SofFile(path, self._kind, source=self._source)
        )

    def _end_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        finally:
            self._n_closed += file.n - file.n_waiting

    def close(self) -> None:
        """Write what is in flight and close the file; raise what went wrong; may be called twice."""
        self._stop_asked.set()
        if self.ident is None:
            self._listener.close()
        else:
            self.join()
        if self.failure is not None:
            raise self.failure


class LogWriter(SofWriter):
    """Writes log records."""

    def __init__(self, file_prefix: str, ip: str, port: int, *where: Any, **how: Any) -> None:
        super().__init__(Kind.LOG, file_prefix, ip, port, *where, **how)


class TimestampWriter(SofWriter):
    """Writes time stamps of triggers."""

    def __init__(self, file_prefix: str, ip: str, port: int, *where: Any, **how: Any) -> None:
        super().__init__(Kind.TIMESTAMP, file_prefix, ip, port, *where, **how)


class TriggerWriter(SofWriter):
    """Writes trigger patterns."""

    def __init__(self, file_prefix: str, ip: str, port: int, *where: Any, **how: Any) -> None:
        super().__init__(Kind.TRIGGER, file_prefix, ip, port, *where, **how)
