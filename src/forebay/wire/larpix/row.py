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
    DATA,
    V1,
    V3,
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

VERSIONS: Final = ("1.0", "2.0", "2.1", "2.2", "2.3", "2.4")
"""Versions of the format that are written, 1.0 only of chips of version 1; 0.0 is read."""

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

FLAGGED_ROW: Final = np.dtype([*WIDE_ROW.descr, ("reset_sample_flag", "u1"), ("cds_flag", "u1")])
"""The same with what only words of version 3 have, behind the columns that everybody knows."""

OLD_ROW: Final = np.dtype(
    [
        ("chip_key", "S32"),
        *((name, "u1") for name in ("type", "chipid", "parity", "valid_parity", "channel")),
        ("timestamp", "<u8"),
        ("adc_counts", "<u2"),
        *((name, "u1") for name in ("fifo_half", "fifo_full", "register", "value")),
        ("counter", "<u4"),
        ("direction", "u1"),
    ]
)
"""A row of version 1.0; ``adc_counts`` is wider than larpix-control writes it, which cannot hold 10 bits."""

OLD_NAMES: Final = MappingProxyType(
    {
        "type": "packet_type",
        "chipid": "chip_id",
        "channel": "channel_id",
        "adc_counts": "dataword",
        "register": "register_address",
        "value": "register_data",
    }
)
"""Columns of versions 0.0 and 1.0 that were renamed later."""

Rows = NDArray[np.void]

_OF_DATA = (
    "channel_id",
    "timestamp",
    "first_packet",
    "dataword",
    "trigger_type",
    "local_fifo",
    "shared_fifo",
    "reset_sample_flag",
    "cds_flag",
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
    if V3 in formats:
        return FLAGGED_ROW
    return WIDE_ROW if V1 in formats else ROW


def stored_type(version: str, kind: np.dtype[Any]) -> np.dtype[Any]:
    """Return what `of_version` makes of rows of `kind`."""
    return OLD_ROW if version == "1.0" else kind


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
    if version not in ("1.0", "2.0", "2.1", "2.2"):
        return rows
    kinds = rows["packet_type"]
    is_config = (kinds == CONFIG_WRITE) | (kinds == CONFIG_READ)
    rows = rows.copy()
    for name in _OF_CONFIG:
        rows[name][~is_config] = 0
    for name in (one for one in _OF_DATA if one in (rows.dtype.names or ())):
        rows[name][is_config] = 0
    return _old(rows) if version == "1.0" else rows


def _old(rows: Rows) -> Rows:
    """Return rows of version 1.0."""
    old = np.zeros(len(rows), OLD_ROW)
    for name in OLD_ROW.names or ():
        new = OLD_NAMES.get(name, name)
        if new in (rows.dtype.names or ()):
            old[name] = rows[new]
    is_data, is_word = rows["packet_type"] == DATA, rows["packet_type"] < TIMESTAMP
    for name in ("channel", "adc_counts"):
        old[name][~is_data] = 0
    old["timestamp"][is_word & ~is_data] = 0
    old["fifo_half"], old["fifo_full"] = (
        (rows["local_fifo"] & 1) * is_data,
        (rows["local_fifo"] >> 1) * is_data,
    )
    group, channel, chip = (
        rows[name][is_word].astype(np.uint32) for name in ("io_group", "io_channel", "chip_id")
    )
    keys = group << 16 | channel << 8 | chip
    known = np.unique(keys)
    texts = [f"{key >> 16}-{key >> 8 & 0xFF}-{key & 0xFF}" for key in known.tolist()]
    if texts:
        old["chip_key"][is_word] = np.array(texts, "S32")[np.searchsorted(known, keys)]
    return old
