"""Readers and writers of SSDAQ 0.9's Python library: readouts, triggers, time stamps, logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forebay.errors import ConfigError
from forebay.front.ssdaq.readout import record_of
from forebay.service.pointing_series import PointingSeries
from forebay.service.readout_classes import SSDataReader, SSFileWriter
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.sof_file import read_sof
from forebay.wire import cdts, trigger
from forebay.wire.sof import Kind


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
    """Listens to a publisher of readouts and writes files of 0.9.

    Parameters
    ----------
    recording:
        What else the files are to hold.
    telescope:
        IP and port at which the telescope's directions are published; None for none of them.
    """

    def __init__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path = "",
        file_enumerator: str | None = None,
        filesize_lim: float | None = None,
        *,
        recording: ReadoutRecording | None = None,
        telescope: tuple[str, int] | None = None,
    ) -> None:
        recording = recording or ReadoutRecording(generation="B")
        super().__init__(file_prefix, ip, port, folder, file_enumerator, filesize_lim, recording=recording)
        self._pointings: Mapping[str, int] = {}
        if telescope is not None:
            if recording.generation != "B":
                self.close()
                raise ConfigError("Files of generation A have no telescope's table.", "Choose generation B.")
            sink = PointingSeries(self._series, *telescope)
            self._sink, self._pointings = sink, sink.counters

    @property
    def counters(self) -> dict[str, int]:
        """As `SSFileWriter.counters`; with a telescope also its ``pointings``."""
        return {**super().counters, **self._pointings}


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
