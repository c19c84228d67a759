"""Readers and writers of SSDAQ's Python library; imported from `forebay.front.ssdaq`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forebay.errors import ConfigError, ForebayError
from forebay.front.ssdaq.readout import SSReadout, record_of
from forebay.service.process import say
from forebay.service.readout import ReadoutSink, write_readouts
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.store.readout_series import ReadoutSeries
from forebay.stream.readouts import ReadoutListener
from forebay.wire import ssreadout
from forebay.wire.camera_map import MAPS, mapped
from forebay.wire.target import N_MODULES, N_PIXELS

_READ_TOGETHER = 256
_HEAD = ["number", "time_ns", "arrived_ns"]


class Amplitudes(NamedTuple):
    """What a file says of one module; arrays are (readout,), amplitudes (readout, channel) in mV."""

    iro: NDArray[np.uint64]
    amps: NDArray[np.float64]
    time: NDArray[np.uint64]
    cpu_t: NDArray[np.float64]
    tm: int


class SSDataWriter:
    """Writes readouts to a new file, which appears under its name when it is closed.

    Parameters
    ----------
    filename:
        Nothing may exist there.
    attrs:
        Attributes of the table.
    filters:
        PyTables' ``Filters``, of which the compression library is taken over; None for one that every
        reader reads.
    buffer:
        Taken and not used: what is given is kept in the journal at once.

    Raises
    ------
    StoreError
        If the file cannot be written; also from `write_readout` and `close_file`.
    """

    def __init__(
        self,
        filename: str | Path,
        attrs: Mapping[str, Any] | None = None,
        filters: Any = None,
        buffer: int = 1,
    ) -> None:
        del buffer
        compression = "zlib"
        if filters is not None:
            compression = getattr(filters, "complib", None) or "zlib"
            if not getattr(filters, "complevel", 1):
                compression = "none"
        recording: Any = {"generation": "A", "compression": compression, "attributes": dict(attrs or {})}
        self._file = ReadoutFile(Path(filename), ReadoutRecording(**recording))

    @property
    def readout_counter(self) -> int:
        """Readouts written."""
        return self._file.n

    def write_readout(self, ro: Any) -> None:
        """Write one `SSReadout`."""
        self._file.append(record_of(ro))

    def close_file(self) -> None:
        """Finish the file and give it its name; may be called twice."""
        self._file.close()


class SSDataReader:
    """Reads files of readouts, whichever version of SSDAQ or forebay wrote them.

    Parameters
    ----------
    mapping:
        ``ssl2asic_ch`` or ``ssl2colrow``: order of the pixels of `data`; None leaves it as it was sent.

    Raises
    ------
    StoreError
        If it is no such file.

    Attributes
    ----------
    data:
        (module, pixel) of the readout that `read` yielded last, float32, mV.
    raw_readout:
        The same in the order of sending.
    readout_number, readout_time:
        Number and time tag of it; 0.9 calls them `iro` and `time`.
    readout_timestamps:
        (module, 2) time tags of primary and auxiliary board.
    cpu_t_s, cpu_t_ns:
        When it arrived, in files of 0.9.
    """

    def __init__(self, filename: str | Path, mapping: str | None = None) -> None:
        self._reader = ReadoutReader(Path(filename))
        self._mapping = mapping
        self.filename = str(filename)
        self.n_readouts = len(self._reader)
        self.attrs = self._reader.attributes
        self.data: NDArray[np.float32] = np.full((32, 64), np.nan, np.float32)
        self.raw_readout = self.data
        self.readout_timestamps: NDArray[np.uint64] = np.zeros((32, 2), np.uint64)
        self.readout_number = self.readout_time = self.cpu_t_s = self.cpu_t_ns = 0

    def __len__(self) -> int:
        return self.n_readouts

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return self.read()

    def __getitem__(self, which: int | slice | Sequence[int]) -> NDArray[np.float32]:
        """Return the data of one readout, (module, pixel), or of several, (readout, module, pixel)."""
        if isinstance(which, int):
            (data,) = self._at([which])
            return data
        indices = range(*which.indices(len(self))) if isinstance(which, slice) else which
        found = list(self._at(indices))
        return np.stack(found) if found else np.empty((0, 32, 64), np.float32)

    def _at(self, indices: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        for index in indices:
            at = index + len(self) if index < 0 else index
            if not 0 <= at < len(self):
                raise IndexError(f"{self.filename} has {len(self)} readouts, none at {index}")
            yield self._show(self._reader.read(at, at + 1)[0])

    def _show(self, one: np.void) -> NDArray[np.float32]:
        self.raw_readout = one["data"].astype(np.float32)
        self.data = mapped(self.raw_readout, self._mapping) if self._mapping else self.raw_readout
        self.readout_number, self.readout_time = int(one["number"]), int(one["time_ns"])
        self.readout_timestamps = one["timestamps"]
        self.cpu_t_s, self.cpu_t_ns = divmod(int(one["arrived_ns"]), 10**9)
        return self.data

    def read(
        self, start: int | None = None, stop: int | None = None, step: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the data of readouts, `stop` excluded, and set the attributes to the same readout."""
        indices = range(*slice(start, stop, step).indices(len(self)))
        if indices.step != 1:
            yield from self._at(indices)
            return
        for first in range(indices.start, indices.stop, _READ_TOGETHER):
            for one in self._reader.read(first, min(first + _READ_TOGETHER, indices.stop)):
                yield self._show(one)

    @property
    def raw_data(self) -> NDArray[np.float32]:
        """As `raw_readout`."""
        return self.raw_readout

    @property
    def iro(self) -> int:
        """As `readout_number`."""
        return self.readout_number

    @property
    def time(self) -> int:
        """As `readout_time`."""
        return self.readout_time

    @property
    def cpu_t(self) -> float:
        """When the readout arrived, seconds since 1970 UTC."""
        return self.cpu_t_s + self.cpu_t_ns * 1e-9

    @property
    def ssreadout(self) -> SSReadout:
        """The readout that `read` yielded last."""
        return SSReadout(self.readout_time, self.readout_number, self.raw_readout, self.readout_timestamps)

    def load_all_data_tm(
        self, tm: int, calib: ArrayLike | None = None, mapping: str | ArrayLike | None = None
    ) -> Amplitudes:
        """Return everything of one module.

        Parameters
        ----------
        calib:
            Factor, or one for each channel as they are sent, (64,).
        mapping:
            ``ssl2asic_ch``, ``ssl2colrow``, ``raw`` for the order of sending, or numbers of channels;
            None for that of the reader.

        Raises
        ------
        ConfigError
            If there is no such module or mapping.
        """
        if not 0 <= tm < N_MODULES:
            raise ConfigError(f"There is no module {tm}.", f"Modules are 0 to {N_MODULES - 1}.")
        order = self._order(self._mapping or "raw" if mapping is None else mapping)
        factor = 1.0 if calib is None else np.asarray(calib, np.float64)
        heads, amplitudes = [ssreadout.new(0)[_HEAD]], [np.empty((0, len(order)))]
        for readouts in self._reader:
            heads.append(readouts[_HEAD].copy())
            amplitudes.append((readouts["data"][:, tm] * factor)[:, order])
        head = np.concatenate(heads)
        arrived_s = seconds_of(head["arrived_ns"])
        return Amplitudes(head["number"], np.concatenate(amplitudes), head["time_ns"], arrived_s, tm)

    @staticmethod
    def _order(mapping: str | ArrayLike) -> NDArray[np.intp]:
        if not isinstance(mapping, str):
            order = np.asarray(mapping)
            if order.ndim != 1 or order.dtype.kind not in "iu" or not np.isin(order, range(N_PIXELS)).all():
                raise ConfigError(
                    f"{mapping!r} is no order of channels.", f"Give numbers 0 to {N_PIXELS - 1}."
                )
            return order.astype(np.intp)
        if mapping == "raw":
            return np.arange(N_PIXELS)
        if mapping not in MAPS:
            raise ConfigError(f"There is no mapping {mapping!r}.", f"Choose one of raw, {', '.join(MAPS)}.")
        return MAPS[mapping].astype(np.intp)

    def close_file(self) -> None:
        """Let go of the file; may be called twice."""
        self._reader.close()


def seconds_of(time_ns: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return times in seconds; whole ones and the rest are added last, to keep what a float can."""
    seconds, rest_ns = np.divmod(time_ns, np.uint64(10**9))
    found: NDArray[np.float64] = seconds + rest_ns * 1e-9
    return found


class SSFileWriter(threading.Thread):
    """Listens to a publisher and writes what comes, in a thread of its own.

    Parameters
    ----------
    file_enumerator:
        ``date``, ``order`` or None.
    filesize_lim:
        Length behind which the next file begins, MiB.

    Attributes
    ----------
    failure:
        Why it ended by itself; None if it did not.
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
    ) -> None:
        super().__init__(name="SSFileWriter", daemon=True)
        enumeration: Any = file_enumerator or "none"
        self._series = ReadoutSeries(
            Path(folder or "."), file_prefix, recording or ReadoutRecording(), enumeration, filesize_lim
        )
        self._sink: ReadoutSink = self._series
        self._listener = ReadoutListener(ip, port)
        self._stop_asked = threading.Event()
        self.failure: ForebayError | None = None

    @property
    def counters(self) -> dict[str, int]:
        """What was ``received``, ``written`` and ``not_written``; what was ``lost`` on the way."""
        heard = self._listener.counters
        return {**self._series.counters, "lost": heard["lost"], "malformed": heard["malformed"]}

    @property
    def paths(self) -> list[Path]:
        """Files begun, in order."""
        return list(self._series.paths)

    def run(self) -> None:
        """Write until `close`; started by `start`."""
        try:
            write_readouts(self._listener, self._sink, self._stop_asked)
        except ForebayError as error:
            self.failure = error
            say("readouts are not written any more", logging.ERROR, reason=error)

    def close(self) -> None:
        """Write what is in flight and close the file; may be called twice.

        Raises
        ------
        ForebayError
            If something could not be written.
        """
        self._stop_asked.set()
        if self.ident is None:
            self._listener.close()
            self._sink.close()
        else:
            self.join()
        if self.failure is not None:
            raise self.failure
