"""Reading LArPix files of every version: packets by the names of their columns, messages as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.store.larpix_chips import version_from_control
from forebay.store.larpix_heap import UnlikeError, read_values
from forebay.store.larpix_manifest import ChipRegisters
from forebay.wire.larpix.row import FLAGGED_ROW, OLD_NAMES, ROW, WIDE_ROW, Rows
from forebay.wire.pacman_batch import PacmanArrays

_DATASETS = {"0.0": "raw_packet"}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class _Opened:
    """An open file with the attributes that every kind has."""

    def __init__(self, path: Path, about: str) -> None:
        self.path = path
        try:
            self.file = h5py.File(path, "r")
            attributes = dict(self.file[about].attrs)
            self.version = _text(attributes["version"])
            self.created, self.modified = float(attributes["created"]), float(attributes["modified"])
        except (OSError, KeyError) as error:
            raise StoreError(
                f"{path} cannot be read as a LArPix file: {error}.", f"It needs the group {about}."
            ) from error

    @property
    def daq_configs(self) -> bytes:
        """The folder of configurations that is embedded, packed; nothing if there is none."""
        return self.file["daq_configs"][:].tobytes() if "daq_configs" in self.file else b""

    def close(self) -> None:
        """Close the file; may be called twice."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class PacketFile(_Opened):
    """LArPix+HDF5 of version 0.0, 1.0 or 2.x.

    Raises
    ------
    StoreError
        If the file is something else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "_header")
        name = _DATASETS.get(self.version, "packets")
        if name not in self.file:
            raise StoreError(f"{path} is of version {self.version}, but has no dataset {name}.")
        self.dataset: h5py.Dataset = self.file[name]

    def __len__(self) -> int:
        return int(self.dataset.shape[0])

    def stored(self, start: int = 0, end: int | None = None) -> Rows:
        """Return rows `start` to before `end` with the columns that the file has."""
        rows: Rows = self.dataset[start : len(self) if end is None else end]
        return rows

    def rows(self, start: int = 0, end: int | None = None) -> Rows:
        """Return rows as the narrowest type of `forebay.wire.larpix.row`; columns not in the file are 0."""
        return modern(self.stored(start, end))

    @property
    def notes(self) -> list[tuple[int, str]]:
        """Texts, with unix seconds."""
        if "messages" not in self.file:
            return []
        return [(int(row["timestamp"]), row["message"].decode()) for row in self.file["messages"][:]]

    @property
    def chips(self) -> list[ChipRegisters]:
        """Configurations; the registers are as wide as the file has them."""
        found = []
        for name, dataset in self.file.items():
            if name == "configs" or name.startswith("configs_"):
                version = version_from_control(_text(dataset.attrs.get("asic_version", "2")))
                found += [
                    ChipRegisters(
                        int(row["io_group"]),
                        int(row["io_channel"]),
                        int(row["chip_id"]),
                        version,
                        row["registers"].tobytes(),
                    )
                    for row in dataset[:]
                ]
        return found


def modern(stored: Rows) -> Rows:
    """Return rows of any version as rows of the newest, by the names of their columns."""
    names = stored.dtype.names or ()
    if stored.dtype in (ROW, WIDE_ROW, FLAGGED_ROW):
        return stored
    adc = "adc_counts" if "adc_counts" in names else "dataword"
    is_wide = adc in names and stored.dtype[adc].itemsize > 1
    kind = FLAGGED_ROW if "cds_flag" in names else WIDE_ROW if is_wide else ROW
    rows = np.zeros(len(stored), kind)
    for name in names:
        new = OLD_NAMES.get(name, name)
        if new in (kind.names or ()):
            rows[new] = stored[name]
    if "fifo_half" in names:
        rows["local_fifo"] = stored["fifo_half"] | stored["fifo_full"] << 1
    if "chip_key" in names:
        keys, inverse = np.unique(stored["chip_key"], return_inverse=True)
        parts = np.array([_key(key) for key in keys], np.uint8).reshape(-1, 3)
        is_word = rows["packet_type"] < 4
        rows["io_group"], rows["io_channel"] = parts[inverse, 0] * is_word, parts[inverse, 1] * is_word
    return rows


def _key(text: bytes) -> tuple[int, int, int]:
    parts = text.decode(errors="replace").split("-")
    if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
        return int(parts[0]), int(parts[1]), int(parts[2])
    return 0, 0, 0


@dataclass(frozen=True, eq=False)
class RawMessages:
    """Messages of a raw file, one behind the other.

    Attributes
    ----------
    data:
        (byte,) of all.
    lengths, io_groups:
        (message,).
    """

    data: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    io_groups: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    def of_group(self, io_group: int, asic_version: str = "2") -> PacmanArrays:
        """Return the messages of one io group."""
        chosen = self.io_groups == io_group
        data = self.data[np.repeat(chosen, self.lengths)]
        return PacmanArrays(data.tobytes(), self.lengths[chosen].astype(np.uint32), io_group, asic_version)


class RawFile(_Opened):
    """Raw files, version 0.0; `StoreError` if the file is something else."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "meta")
        if "msgs" not in self.file or "msg_headers" not in self.file:
            raise StoreError(f"{path} has no datasets msgs and msg_headers.")
        self.io_version = _text(self.file["meta"].attrs.get("io_version", ""))

    def __len__(self) -> int:
        return int(self.file["msgs"].shape[0])

    def read(self, start: int = 0, end: int | None = None) -> RawMessages:
        """Return messages `start` to before `end`."""
        end = len(self) if end is None else min(end, len(self))
        groups = self.file["msg_headers"][start:end]["io_groups"]
        try:
            data, lengths = read_values(self.file["msgs"], start, end)
        except UnlikeError:
            data, lengths = self._one_by_one(start, end)
        return RawMessages(data, lengths, groups)

    def _one_by_one(self, start: int, end: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        messages = self.file["msgs"][start:end]
        lengths = np.fromiter(map(len, messages), np.int64, len(messages))
        return np.concatenate(messages) if len(messages) else np.zeros(0, np.uint8), lengths

    def blocks(self, n: int = 10240) -> Iterator[RawMessages]:
        """Yield all messages, `n` at a time."""
        for start in range(0, len(self), n):
            yield self.read(start, start + n)
