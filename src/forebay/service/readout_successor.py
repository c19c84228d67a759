"""Readers and writers of SSDAQ 0.9's Python library: readouts, triggers, time stamps, logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.front.ssdaq.frame import Frame
from forebay.front.ssdaq.readout import SSReadoutB, record_of
from forebay.front.ssdaq.records import LogData, TriggerMessage
from forebay.front.ssdaq.triggers import TriggerPacket
from forebay.service.pointing_series import PointingSeries
from forebay.service.readout_classes import SSDataReader, SSFileWriter, seconds_of
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.sof_file import read_sof
from forebay.wire import ssreadout
from forebay.wire.camera_map import MAPS, mapped
from forebay.wire.sof import Kind
from forebay.wire.target import N_MODULES, N_PIXELS


class SSDataReaderB(SSDataReader):
    """Reads files of readouts; amplitudes are in the order of the ASICs' channels unless told otherwise.

    Raises
    ------
    StoreError
        If it is no such file.
    ConfigError
        If there is no such mapping.
    """

    def __init__(self, filename: str | Path, mapping: str | None = "ssl2asic_ch") -> None:
        if mapping is not None and mapping not in MAPS:
            raise ConfigError(f"There is no mapping {mapping!r}.", f"Choose one of {', '.join(MAPS)}.")
        super().__init__(filename, mapping)

    def read(
        self, start: int | None = None, stop: int | None = None, step: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """As `SSDataReader.read`; with `start` alone the one readout there."""
        if start is not None and stop is None and step is None:
            return self._at([start])
        return super().read(start, stop, step)

    @property
    def ssreadout(self) -> SSReadoutB:  # type: ignore[override]  # 0.9 gave this name to another class
        """The readout that `read` yielded last."""
        return SSReadoutB(
            self.readout_time, self.readout_number, self.cpu_t_s, self.cpu_t_ns, self.raw_readout
        )

    load_all_data = SSDataReader.load_all_data_tm

    def load_as_pd_table(self) -> Any:
        """Return all readouts as a table of pandas: a row for each pixel of the camera.

        Its index is number of the readout and pixel, 0 to 2047, in the order of the reader's mapping; columns
        are ``time``, ``cpu_t`` and ``amp``.

        Raises
        ------
        ConfigError
            If pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ConfigError(
                "load_as_pd_table needs pandas.", "Install it: pip install 'forebay[pandas]'."
            ) from error
        blocks = list(self._reader)
        found = np.concatenate(blocks) if blocks else ssreadout.new(0)
        data = found["data"].astype(np.float32)
        data = mapped(data, self._mapping) if self._mapping else data
        n_pixels = N_MODULES * N_PIXELS
        index = pandas.MultiIndex.from_arrays(
            [np.repeat(found["number"], n_pixels), np.tile(np.arange(n_pixels), len(found))],
            names=["iro", "pix"],
        )
        columns = {
            "time": np.repeat(found["time_ns"], n_pixels),
            "cpu_t": np.repeat(seconds_of(found["arrived_ns"]), n_pixels),
            "amp": data.ravel(),
        }
        return pandas.DataFrame(columns, index=index)


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

    write_readout = write

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
        If it cannot be read; also where an object is not what it should be.

    Attributes
    ----------
    sof:
        The container; `sof.objects` are the bytes.
    """

    def __init__(self, file: str | Path) -> None:
        self.sof = read_sof(Path(file))
        self.filename = str(file)
        self._unpack = UNPACK.get(self.sof.kind, bytes)
        self._next = 0

    @property
    def n_entries(self) -> int:
        """How many objects there are."""
        return len(self.sof.objects)

    def __len__(self) -> int:
        return self.n_entries

    def __iter__(self) -> Iterator[Any]:
        return (self._unpack(one) for one in self.sof.objects)

    def __getitem__(self, index: int) -> Any:
        return self._unpack(self.sof.objects[index])

    def readobjects(self) -> Iterator[Any]:
        """Yield every object."""
        return iter(self)

    def read(self) -> Any:
        """Return the object behind the one that was read last; `EOFError` behind the last one."""
        if self._next >= self.n_entries:
            raise EOFError(f"{self.filename} has {self.n_entries} objects.")
        self._next += 1
        return self[self._next - 1]

    def read_at(self, ind: int) -> Any:
        """Return one object, from 0."""
        return self[ind]

    def resetfp(self) -> None:
        """Let `read` begin anew."""
        self._next = 0

    def close(self) -> None:
        """Do nothing: the file is not held open."""


UNPACK: Mapping[int, Callable[[bytes], Any]] = {
    Kind.LOG: LogData.unpack,
    Kind.TIMESTAMP: TriggerMessage.unpack,
    Kind.TRIGGER: TriggerPacket.unpack,
    Kind.FRAME: Frame.deserialize,
}
"""How objects of each kind are unpacked."""
