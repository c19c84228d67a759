"""Rows of LArPix+HDF5: one row a packet, with the columns that every version of the format has had."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.wire.larpix.word import (
    CONFIG_READ,
    CONFIG_WRITE,
    V1,
    WordFormat,
    Words,
    field,
    has_good_parity,
    test_counter,
)

TIMESTAMP, MESSAGE, SYNC, TRIGGER = range(4, 8)
"""Packet types of what is no word of a chip."""

TO_CHIP, FROM_CHIP = 0, 1
"""Values of ``direction``."""

VERSIONS: Final = ("2.0", "2.1", "2.2", "2.3", "2.4")
"""Versions of the format that are written; 0.0 and 1.0 are read."""

PACKET_TYPES: Final = MappingProxyType(
    {
        0: "data",
        1: "test",
        2: "config write",
        3: "config read",
        TIMESTAMP: "timestamp",
        MESSAGE: "message",
        SYNC: "sync",
        TRIGGER: "trigger",
    }
)

_COLUMNS: Final = (
    ("io_group", "u1"),
    ("io_channel", "u1"),
    ("chip_id", "u1"),
    ("packet_type", "u1"),
    ("downstream_marker", "u1"),
    ("parity", "u1"),
    ("valid_parity", "u1"),
    ("channel_id", "u1"),
    ("timestamp", "<u8"),
    ("dataword", "u1"),
    ("trigger_type", "u1"),
    ("local_fifo", "u1"),
    ("shared_fifo", "u1"),
    ("register_address", "u1"),
    ("register_data", "u1"),
    ("direction", "u1"),
    ("local_fifo_events", "u1"),
    ("shared_fifo_events", "<u2"),
    ("counter", "<u4"),
    ("fifo_diagnostics_enabled", "u1"),
    ("first_packet", "u1"),
    ("receipt_timestamp", "<u4"),
)

ROW: Final = np.dtype(list(_COLUMNS))
"""A row of version 2.4, packed, 36 bytes; versions 2.0 to 2.3 as larpix-control 3.5 and later write them."""

WIDE_ROW: Final = np.dtype([(name, "<u2" if name == "dataword" else kind) for name, kind in _COLUMNS])
"""The same with room for datawords of 10 bits (chips of version 1 and 3)."""

Rows = NDArray[np.void]

_OF_DATA = (
    "channel_id",
    "timestamp",
    "first_packet",
    "dataword",
    "trigger_type",
    "local_fifo",
    "shared_fifo",
)
_OF_CONFIG = ("register_address", "register_data")


def check_version(version: str) -> None:
    """Refuse a version of the format that is not written; `ConfigError` names those that are."""
    if version not in VERSIONS:
        raise ConfigError(
            f"LArPix+HDF5 {version!r} cannot be written.", f"The versions are: {', '.join(VERSIONS)}."
        )


def row_type(formats: set[WordFormat] | frozenset[WordFormat]) -> np.dtype[Any]:
    """Return the narrowest rows that hold words of all these formats."""
    return WIDE_ROW if any(one.fields["dataword"][1] > 8 for one in formats) else ROW


def fill(rows: Rows, words: Words, word_format: WordFormat) -> None:
    """Write every field of the words into their rows, whatever the packet type; rows must be zero.

    A word of 0 leaves its row as it is, since it has no bit and a wrong parity.
    """
    names = rows.dtype.names or ()
    for name in word_format.fields:
        if name in names:
            rows[name] = field(words, word_format, name)
    rows["valid_parity"] = has_good_parity(words, word_format)
    if word_format is V1:
        half, full = field(words, V1, "fifo_half"), field(words, V1, "fifo_full")
        rows["local_fifo"] = half | full << 1
        is_test = rows["packet_type"] == 1
        rows["counter"][is_test] = test_counter(words[is_test])


def of_version(rows: Rows, version: str) -> Rows:
    """Return rows as `version` fills them: up to 2.2, fields that a packet type does not have are 0."""
    if version not in ("2.0", "2.1", "2.2"):
        return rows
    kinds = rows["packet_type"]
    is_config = (kinds == CONFIG_WRITE) | (kinds == CONFIG_READ)
    rows = rows.copy()
    for name in _OF_CONFIG:
        rows[name][~is_config] = 0
    for name in _OF_DATA:
        rows[name][is_config] = 0
    return rows
