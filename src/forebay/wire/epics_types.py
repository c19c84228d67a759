"""Values, alarms and times of EPICS as the two protocols have them, turned into ours.

Sources: ``db_access.h`` and ``alarm.h`` of EPICS base (Channel Access), the Normative Types specification
(pvAccess).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from forebay.errors import WireError
from forebay.event import Array

CA_STATUS: Final = (
    *("NO_ALARM", "READ", "WRITE", "HIHI", "HIGH", "LOLO", "LOW", "STATE", "COS", "COMM", "TIMEOUT"),
    *("HWLIMIT", "CALC", "SCAN", "LINK", "SOFT", "BAD_SUB", "UDF", "DISABLE", "SIMM"),
    *("READ_ACCESS", "WRITE_ACCESS"),
)
"""Alarm status by its number in Channel Access."""

PVA_STATUS: Final = ("NO_ALARM", "DEVICE", "DRIVER", "RECORD", "DB", "CONF", "UNDEFINED", "CLIENT")
"""Alarm status by its number in pvAccess, where it says only which part raised the alarm."""

SEVERITY: Final = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")

CA_TYPES: Final = {1: "<i2", 2: "<f4", 3: "<u2", 4: "|u1", 5: "<i4", 6: "<f8"}
"""Type of numbers by its code in Channel Access; an enum (3) is the number of its choice. 0 is text."""

PVA_TYPES: Final = {
    "?": "|b1",
    "b": "|i1",
    "B": "|u1",
    "h": "<i2",
    "H": "<u2",
    "i": "<i4",
    "I": "<u4",
    "l": "<i8",
    "L": "<u8",
    "f": "<f4",
    "d": "<f8",
}
"""Type of numbers by its letter in pvAccess; an array has an ``a`` before it. ``s`` is text."""


def ca_array(value: object, datatype: int) -> Array:
    """Return a value of Channel Access: of type `datatype`, scalar or (item,); text stays text.

    Raises
    ------
    WireError
        If the type is not one of Channel Access.
    """
    if isinstance(value, str):
        return np.array(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return np.asarray(value, value.dtype)
    if datatype not in CA_TYPES:
        raise WireError(f"Channel Access has no type {datatype}.")
    return np.array(value, CA_TYPES[datatype], subok=False)


def pva_array(value: object, letter: str) -> Array:
    """Return the value of a structure of pvAccess whose field has the type `letter`; else as `ca_array`."""
    is_array, plain = letter.startswith("a"), letter.removeprefix("a")
    if plain == "s":
        if is_array and not isinstance(value, Sequence | np.ndarray):
            raise WireError(f"An array of text cannot be {type(value).__name__}.")
        return np.array(value, np.str_)
    if plain not in PVA_TYPES or len(letter) > 2:
        raise WireError(f"Values of pvAccess type {letter!r} cannot be kept.", "Numbers and text can be.")
    return np.array(value, PVA_TYPES[plain])


def ca_status(status: int) -> str:
    """Name an alarm status of Channel Access."""
    return CA_STATUS[status] if 0 <= status < len(CA_STATUS) else f"STATUS_{status}"


def pva_status(status: int, severity: int, message: str) -> str:
    """Name an alarm of pvAccess by what it says itself, where that is a status of Channel Access."""
    if severity == 0:
        return "NO_ALARM"
    word = message.strip().removesuffix("_ALARM")
    if word in CA_STATUS:
        return word
    return PVA_STATUS[status] if 0 <= status < len(PVA_STATUS) else f"STATUS_{status}"


def severity_of(severity: int) -> int:
    """Return 0 .. 3; pvAccess has a 4, undefined, which is as bad as invalid."""
    return severity if 0 <= severity <= 3 else 3


def time_ns(seconds: int, nanoseconds: int) -> int:
    """Join the two halves of a time stamp, seconds since 1970."""
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def pulse_id_of(value: Array | None, severity: int) -> int | None:
    """Return the pulse id that a value says; None if it says none: no positive integer, or invalid."""
    if value is None or value.size != 1 or severity >= 3:
        return None
    item: Any = value.item()
    try:
        pulse_id = int(item)
    except (ValueError, OverflowError):
        return None
    is_whole = isinstance(item, str) or pulse_id == item
    return pulse_id if is_whole and 0 < pulse_id < 2**63 else None
