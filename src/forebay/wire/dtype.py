"""How the type of an array is written in a header, and which types may be: numbers, never objects."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from forebay.errors import WireError

TypeText = str | tuple[tuple[str, str], ...]
"""``"<u2"``, or (name, type) of each field of a packed record."""

MAX_FIELDS = 256

_PLAIN = re.compile(r"\|b1|\|[ui]1|[<>]([ui][248]|f[248]|c8|c16)|\|S[1-9]\d{0,4}|[<>]U[1-9]\d{0,3}")


@lru_cache(maxsize=1024)
def to_text(dtype: np.dtype[Any]) -> TypeText:
    """Write a dtype.

    Raises
    ------
    WireError
        If it is anything but bool, integer, float, complex or fixed-length text, or a packed record of
        these.
    """
    if dtype.fields is None or dtype.names is None:
        text = dtype.str
        if _PLAIN.fullmatch(text) is None or dtype.subdtype is not None:
            raise WireError(f"Arrays of type {dtype} cannot be sent.", "Send numbers or fixed-length text.")
        return text
    fields = tuple((name, dtype.fields[name][0].str) for name in dtype.names)
    if from_text(fields) != dtype:
        raise WireError(f"Records of type {dtype} cannot be sent.", "Only packed, flat records can be.")
    return fields


@lru_cache(maxsize=1024)
def from_text(text: TypeText) -> np.dtype[Any]:
    """Read what `to_text` wrote; `WireError` for every type that it would not have written."""
    if isinstance(text, str):
        if _PLAIN.fullmatch(text) is None:
            raise WireError(f"{text[:64]!r} is not a type that an array may have.")
        return np.dtype(text)
    if not 0 < len(text) <= MAX_FIELDS or any(_PLAIN.fullmatch(kind) is None for _, kind in text):
        raise WireError(f"A record of {len(text)} fields with types {str(text)[:200]} cannot be read.")
    names = {name for name, _ in text}
    if len(names) != len(text) or not all(0 < len(name) <= 64 and name.isidentifier() for name in names):
        raise WireError(f"The field names of a record, {str(sorted(names))[:200]}, are not unique words.")
    return np.dtype(list(text))
