"""The layouts of files of channels, as tables: which dataset holds what, in which shape and chunks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import h5py
import numpy as np

from forebay.errors import ConfigError, WireError
from forebay.wire.bsread import Channel
from forebay.wire.bsread.channel import MAX_DIMENSIONS
from forebay.wire.compress import FILTER, MAX_BYTES

TEXT: Final = h5py.string_dtype("utf-8")
PRESENT_TEXT: Final = "1: every row is a value that came"
COMPANION: Final = "|"
"""Between the name of a channel and that of a column which comes as a channel of its own."""

_MAX_CHUNK_BYTES = 2**20
_MAX_NAME_BYTES = 1024
_RESERVED = ("", ".", "..", "data", "general")


@dataclass(frozen=True, slots=True)
class Column:
    """A dataset beside the values of a channel, with one row for each value.

    Attributes
    ----------
    fill:
        Where the values come from: ``pulse_id``, ``time`` (of the value), ``checksum`` (of the stored
        image) or, as a number or text, what is written unless the event has a channel
        ``<channel>|<name of the column>``.
    time_unit_ns:
        Of a time.
    """

    name: str
    dtype: Any
    fill: str | int
    is_companion: bool = False
    time_unit_ns: int = 1


@dataclass(frozen=True, slots=True)
class ChannelLayout:
    """A layout.

    Attributes
    ----------
    root:
        Group in which the channels' groups lie.
    columns:
        Datasets beside ``data``.
    row_shape:
        Shape of a row of a column.
    chunk_rows:
        Rows of a chunk from the bytes of one row's shape: kind of the value, its shape.
    is_packed:
        Whether columns, and values that are no images, are compressed with gzip 4 and shuffle.
    scalar, text:
        Shape of a row of a number announced as [1], and of a string.
    keeps_byte_order:
        Whether big-endian values stay so; else they are turned. Images always stay as they came.
    empty_groups:
        Who gets a group without data: nobody, channels that never had a value, or, directly below the
        root of the file, all.
    general:
        Keys that ``/general`` always has.
    is_event_driven:
        Whether values come when they change: pulse ids may then repeat, and none is missing.
    """

    name: str
    root: str
    columns: tuple[Column, ...]
    chunk_rows: Callable[[str, tuple[int, ...]], int]
    row_shape: tuple[int, ...] = ()
    is_packed: bool = False
    scalar: tuple[int, ...] = (1,)
    text: tuple[int, ...] = ()
    keeps_byte_order: bool = False
    empty_groups: Literal["none", "absent", "all"] = "none"
    general: tuple[str, ...] = ()
    is_event_driven: bool = False


def _data_api_rows(kind: str, shape: tuple[int, ...]) -> int:
    if kind == "text":
        return 1024
    return max(2, 16_384 // math.prod(shape)) if shape else 8192


_GENERAL = ("created", "instrument", "process", "user")

LAYOUTS: Final = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            ChannelLayout(
                "bsread",
                root="data",
                columns=(
                    Column("pulse_id", np.int64, "pulse_id"),
                    Column("is_data_present", np.uint8, 1),
                    Column("timestamp", np.int64, "time"),
                ),
                chunk_rows=lambda _kind, _shape: 100,
                empty_groups="absent",
                general=_GENERAL,
            ),
            ChannelLayout(
                "data-api",
                root="",
                columns=(Column("pulse_id", np.int64, "pulse_id"), Column("timestamp", np.int64, "time")),
                chunk_rows=_data_api_rows,
                is_packed=True,
                scalar=(),
                keeps_byte_order=True,
            ),
            ChannelLayout(
                "pvdata",
                root="data",
                columns=(
                    Column("pulse_id", np.uint64, "pulse_id"),
                    Column("timestamp", np.uint64, "time", time_unit_ns=1000),
                    Column("connected", np.uint8, 1, is_companion=True),
                    Column("status", TEXT, "", is_companion=True),
                ),
                chunk_rows=lambda _kind, _shape: 1024,
                row_shape=(1,),
                text=(1,),
                empty_groups="all",
                general=_GENERAL,
                is_event_driven=True,
            ),
        )
    }
)
"""By name: SwissFEL's bsread writer, SwissFEL's data API, and the EPICS writer's PVDATA."""

CHECKSUM = Column("checksum", np.uint64, "checksum")


def layout_of(name: str) -> ChannelLayout:
    """Return a layout; `ConfigError` if there is none of that name."""
    if name not in LAYOUTS:
        raise ConfigError(
            f"There is no layout {name!r} of channels.", f"The layouts are: {', '.join(LAYOUTS)}."
        )
    return LAYOUTS[name]


def group_name(channel: str) -> str:
    """Return the name of a channel's group: its own name, with what could lead elsewhere as ``%XX``.

    That is ``/``, ``%``, control characters and what is no text; names that mean something else in a
    file of channels get their first character so.
    """
    text = "".join(one if one.isprintable() and one not in "/%" else _escaped(one) for one in channel)
    return _escaped(text[:1]) + text[1:] if text in _RESERVED else text


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Definition:
    """What all values in one dataset have in common.

    Attributes
    ----------
    kind:
        ``image``, stored in one chunk each as it was compressed; ``text``; or ``number``.
    shape:
        Of a row of the dataset.
    """

    kind: Literal["image", "text", "number"]
    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; of a text, of its entry in the dataset."""
        return math.prod(self.shape) * (16 if self.kind == "text" else np.dtype(self.dtype).itemsize)


def definition_of(layout: ChannelLayout, channel: Channel) -> Definition:
    """Return how the values of a channel are stored; `WireError` if it has no value that can be."""
    if len(group_name(channel.name).encode()) > _MAX_NAME_BYTES:
        raise WireError(f"Channel {channel.name[:40]!r}...: its name is longer than {_MAX_NAME_BYTES} bytes.")
    _ = channel.codec, channel.is_big  # they raise if they are unknown
    if channel.is_string:
        return Definition("text", "", layout.text)
    shape, dtype = channel.array_shape, channel.dtype
    if not channel.n_bytes:
        raise WireError(f"Channel {channel.name!r}: a value of shape {list(channel.shape)} has no elements.")
    if len(shape) >= MAX_DIMENSIONS:
        raise WireError(f"Channel {channel.name!r}: rows of {len(shape)} dimensions cannot be stored.")
    if channel.n_bytes > MAX_BYTES:
        raise WireError(f"Channel {channel.name!r}: {channel.n_bytes} bytes are more than a chunk holds.")
    if len(shape) == 2 and min(shape) > 1 and dtype.kind in "iuf":
        return Definition("image", dtype.str, shape)
    stored = dtype if layout.keeps_byte_order else dtype.newbyteorder("<")
    return Definition("number", stored.str, layout.scalar if shape == (1,) else shape)


def data_options(layout: ChannelLayout, definition: Definition) -> dict[str, Any]:
    """Return what `h5py.Group.create_dataset` wants for the values."""
    shape = definition.shape
    if definition.kind == "image":
        rows, filters = 1, {"compression": FILTER, "compression_opts": (0, 2)}  # block as stored, LZ4
    else:
        rows = layout.chunk_rows(definition.kind, shape)
        rows = max(1, min(rows, _MAX_CHUNK_BYTES // max(definition.row_bytes, 1)))
        filters = _filters(layout)
    dtype = TEXT if definition.kind == "text" else np.dtype(definition.dtype)
    return _growing(rows, shape, dtype) | filters


def column_options(layout: ChannelLayout, column: Column) -> dict[str, Any]:
    """Return what `h5py.Group.create_dataset` wants for a column."""
    rows = layout.chunk_rows("number", ())
    return _growing(rows, layout.row_shape, column.dtype) | _filters(layout)


def _growing(rows: int, shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    n_bytes = rows * math.prod(shape) * np.dtype(dtype).itemsize
    return {
        "shape": (0, *shape),
        "maxshape": (None, *shape),
        "chunks": (rows, *shape),
        "dtype": dtype,
        "rdcc_nbytes": n_bytes,  # HDF5 keeps one chunk, until it is full
    }


def _filters(layout: ChannelLayout) -> dict[str, Any]:
    return {"compression": "gzip", "compression_opts": 4, "shuffle": True} if layout.is_packed else {}
