"""The tables in which SSDAQ keeps readouts, of all its versions, as PyTables writes and reads them."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.store import manifest as m
from forebay.wire.ssreadout import READOUT
from forebay.wire.target import N_MODULES, N_PIXELS

FORMAT = "forebay-readouts"
VERSION = 1
GROUP = "SlowSignal"
TABLE = f"{GROUP}/readout"
TELESCOPE = f"{GROUP}/tel_table"
NOTES = "forebay"
MANIFEST = f"{NOTES}/manifest"
CHECKSUMS = f"{NOTES}/chunk_checksum"
VERSION_A, VERSION_B = "ssdata_version", "ss_data_version"

Generation = Literal["A", "B", "old"]
Compression = Literal["zlib", "bzip2", "none"]

_DATA = (N_MODULES, N_PIXELS)
_TAGS = (N_MODULES, 2)
_NS = 10**9

ROW_A: np.dtype[np.void] = np.dtype(
    [
        ("data", "<f4", _DATA),
        ("readout_number", "<u8"),
        ("ro_time", "<u8"),
        ("time_stamps", "<u8", _TAGS),
    ]
)
"""SSDAQ 0.7 and 0.8, 8720 bytes."""

ROW_B: np.dtype[np.void] = np.dtype(
    [
        ("cpu_t", "<f8"),
        ("cpu_t_ns", "<u8"),
        ("cpu_t_s", "<u8"),
        ("data", "<f4", _DATA),
        ("iro", "<u8"),
        ("time", "<u8"),
    ]
)
"""SSDAQ 0.9 and later, 8232 bytes."""

ROW_OLD: np.dtype[np.void] = np.dtype(
    [
        ("data", "<f4", _DATA),
        ("ev_time", "<u8"),
        ("event_number", "<u8"),
        ("runt_number", "<u8"),  # so spelt, and never used
        ("time_stamps", "<u8", _TAGS),
    ]
)
"""SSDAQ before 0.7, 8728 bytes; only read."""

ROW_TELESCOPE: np.dtype[np.void] = np.dtype(
    [("db_t", "<f8"), ("db_t_ns", "<u8"), ("db_t_s", "<u8"), ("dec", "<f8"), ("ra", "<f8")]
)
"""Where the telescope pointed (generation B)."""


class ReadoutRecording(msgspec.Struct, frozen=True):
    """What is known of a file of readouts before the first one comes.

    Attributes
    ----------
    source:
        Name of the camera.
    generation:
        ``A`` or ``B``: whose table it is.
    compression:
        ``zlib``, which everything reads; ``bzip2`` as the original's, which h5py reads with hdf5plugin
        only; ``none``.
    attributes:
        Further attributes of the table.
    """

    source: str = "chec"
    generation: Literal["A", "B"] = "A"
    compression: Compression = "zlib"
    attributes: dict[str, str | int | float] = {}
    requested: m.Request = m.Request()
    configuration: dict[str, Any] = {}
    counters: m.Counters = m.Counters()
    start_time: str = ""


class ReadoutManifest(m.Manifest, frozen=True, kw_only=True):
    """What a file of readouts says of itself.

    ``sources`` holds one account, whose pulse ids are time tags; the recorder's counters are ``received``
    = ``written`` + ``not_written``.

    Attributes
    ----------
    generation:
        Whose table it is.
    missing_modules:
        Module (as text) -> readouts in which it is missing.
    """

    generation: str
    missing_modules: dict[str, int]


def from_json(text: bytes | str) -> ReadoutManifest:
    """Read a manifest; `forebay.errors.StoreError` if it is not one that this version knows."""
    return m.read_manifest(text, ReadoutManifest, FORMAT, VERSION)


def check_recording(recording: ReadoutRecording) -> None:
    """Find out whether such a file can be written; `ConfigError` if not."""
    if recording.generation not in ("A", "B"):
        raise ConfigError(f"There is no table of generation {recording.generation!r}.", "Choose A or B.")
    if recording.compression not in get_args(Compression):
        choices = ", ".join(get_args(Compression))
        raise ConfigError(f"There is no compression {recording.compression!r}.", f"Choose one of {choices}.")


def to_rows(readouts: NDArray[np.void], generation: str) -> NDArray[np.void]:
    """Return the table's rows of readouts, (readout,) of `ROW_A` or `ROW_B`."""
    if generation == "A":
        rows = np.empty(len(readouts), ROW_A)
        rows["data"] = readouts["data"]
        rows["readout_number"] = readouts["number"]
        rows["ro_time"] = readouts["time_ns"]
        rows["time_stamps"] = readouts["timestamps"]
        return rows
    rows = np.empty(len(readouts), ROW_B)
    seconds, rest = np.divmod(readouts["arrived_ns"], np.uint64(_NS))
    rows["cpu_t"] = seconds + rest * 1e-9
    rows["cpu_t_s"], rows["cpu_t_ns"] = seconds, rest
    rows["data"] = readouts["data"]
    rows["iro"] = readouts["number"]
    rows["time"] = readouts["time_ns"]
    return rows


def to_readouts(rows: NDArray[np.void], generation: Generation) -> NDArray[np.void]:
    """Return the readouts of a table's rows; what the table does not have is 0."""
    readouts = np.zeros(len(rows), READOUT)
    readouts["data"] = rows["data"]
    number, time = {"A": ("readout_number", "ro_time"), "B": ("iro", "time")}.get(
        generation, ("event_number", "ev_time")
    )
    readouts["number"], readouts["time_ns"] = rows[number], rows[time]
    if generation == "B":
        seconds = np.minimum(rows["cpu_t_s"], np.uint64(2**64 // _NS - 1))
        readouts["arrived_ns"] = seconds * np.uint64(_NS) + np.minimum(rows["cpu_t_ns"], np.uint64(_NS - 1))
    else:
        readouts["timestamps"] = rows["time_stamps"]
    return readouts


def fields_as_pytables(row: np.dtype[np.void]) -> dict[str, Any]:
    """Return the attributes by which PyTables knows the columns of a table."""
    attributes: dict[str, Any] = {}
    for i, name in enumerate(row.names or ()):
        attributes[f"FIELD_{i}_NAME"] = np.bytes_(name)
        attributes[f"FIELD_{i}_FILL"] = row[name].base.type(0)
    return attributes
