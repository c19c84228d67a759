"""Readers and writers of SSDAQ 0.9's Python library: readouts, triggers, time stamps, logs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forebay.errors import ForebayError
from forebay.front.ssdaq.readout import record_of
from forebay.service.process import say
from forebay.service.readout_classes import SSDataReader, SSFileWriter
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_series import free_path, names
from forebay.store.sof_file import SofFile, read_sof
from forebay.stream.messages import MessageListener
from forebay.wire import cdts, trigger
from forebay.wire.sof import Kind

_DRAIN_S = 0.2
_MIB = 2**20


class SSDataReaderB(SSDataReader):
    """Reads files of readouts; amplitudes are in the order of the ASICs' channels unless told otherwise."""

    def __init__(self, filename: str | Path, mapping: str | None = "ssl2asic_ch") -> None:
        super().__init__(filename, mapping)


class SSDataWriterB:
    """Writes readouts to a new file of 0.9.

    Parameters
    ----------
    attrs:
        Attributes of the table.
    filters, buffer, tel_table:
        Taken and not used: every reader reads these files, nothing that was written is lost by a kill,
        and the telescope's table is always there.
    """

    def __init__(
        self,
        filename: str | Path,
        attrs: Mapping[str, Any] | None = None,
        filters: object = None,
        buffer: int = 1000,
        tel_table: bool = True,
    ) -> None:
        del filters, buffer, tel_table
        recording = ReadoutRecording(generation="B", attributes=dict(attrs or {}))
        self._file = ReadoutFile(Path(filename), recording)

    @property
    def data_counter(self) -> int:
        """Readouts written."""
        return self._file.n

    def write(self, data: Any) -> None:
        """Write one readout, of 0.9 or 0.7."""
        self._file.append(record_of(data))

    def write_tel_data(self, ra: float, dec: float, time: float, seconds: int, ns: int) -> None:
        """Write where the telescope pointed."""
        self._file.write_telescope(ra, dec, time, seconds, ns)

    def close(self) -> None:
        """Finish the file and give it its name; may be called twice."""
        self._file.close()

    close_file = close


class SSFileWriterB(SSFileWriter):
    """Listens to a publisher of readouts and writes files of 0.9."""

    def __init__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path = "",
        file_enumerator: str | None = None,
        filesize_lim: float | None = None,
    ) -> None:
        recording = ReadoutRecording(generation="B")
        super().__init__(file_prefix, ip, port, folder, file_enumerator, filesize_lim, recording=recording)


class DataReader:
    """The objects of a ``.sof`` file, unpacked where their kind is known.

    Raises
    ------
    StoreError, WireError
        If it cannot be read.
    """

    def __init__(self, file: str | Path) -> None:
        self.sof = read_sof(Path(file))

    def __len__(self) -> int:
        return len(self.sof.objects)

    def __iter__(self) -> Iterator[Any]:
        unpack = UNPACK.get(self.sof.kind, bytes)
        return (unpack(one) for one in self.sof.objects)


UNPACK: Mapping[int, Callable[[bytes], Any]] = {
    Kind.LOG: lambda data: cdts.decode(cdts.LOG, data),
    Kind.TIMESTAMP: lambda data: cdts.decode(cdts.TRIGGER_MESSAGE, data),
    Kind.TRIGGER: trigger.decode,
}
"""How objects of each kind are unpacked."""


class SofWriter(threading.Thread):
    """Listens to a publisher and writes its messages to ``.sof`` files, in a thread of its own.

    Parameters
    ----------
    kind:
        What the messages are.
    file_enumerator:
        ``date``, ``order`` or None.
    filesize_lim:
        Bytes of messages behind which the next file begins, MiB.

    Attributes
    ----------
    n_written:
        Messages written.
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
        self._limit_bytes = filesize_lim and filesize_lim * _MIB
        self._listener = MessageListener(ip, port)
        self._stop_asked = threading.Event()
        self._file: SofFile | None = None
        self._n_bytes = 0
        self.n_written = 0
        self.paths: list[Path] = []
        self.failure: ForebayError | None = None

    @property
    def counters(self) -> dict[str, int]:
        """How many messages were ``written``."""
        return {"written": self.n_written}

    def run(self) -> None:
        """Write until `close`; started by `start`."""
        try:
            while (messages := self._listener.read(_DRAIN_S)) or not self._stop_asked.is_set():
                if messages:
                    self._write(messages)
        except ForebayError as error:
            self.failure = error
            say("messages are not written any more", logging.ERROR, reason=error)
        finally:
            self._listener.close()
            if self._file is not None:
                self._file.close()

    def _write(self, messages: list[bytes]) -> None:
        if self._file is not None and self._limit_bytes and self._n_bytes >= self._limit_bytes:
            self._file.close()
            self._file = None
        if self._file is None:
            found = names(self._prefix, self._enumeration, "B", lambda: datetime.now(UTC), ".sof")
            path = free_path(self._folder, found)
            self._file, self._n_bytes = SofFile(path, self._kind), 0
            self.paths.append(path)
        self._file.append(messages)
        self._n_bytes += sum(map(len, messages))
        self.n_written += len(messages)

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
