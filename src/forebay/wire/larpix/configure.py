"""Words that write and read registers of chips, and what chips answer."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.wire.larpix.word import (
    CONFIG_READ,
    CONFIG_WRITE,
    V3,
    Words,
    encode,
    field,
    format_of,
    has_good_parity,
)

MAGIC: Final = 0x89504E47
"""What configuration words of version 3 carry in both directions; other words of these types are ignored.

Source: the constants and the test benches of the chip's own description. Not tried on a chip.
"""

BROADCAST: Final = 255
"""Chip id that every chip takes as its own."""


def write_words(asic_version: str, chip_id: int, addresses: Any, values: Any) -> Words:
    """Return the words that write these registers of a chip, in their order."""
    return _words(asic_version, CONFIG_WRITE, chip_id, addresses, values)


def read_words(asic_version: str, chip_id: int, addresses: Any) -> Words:
    """Return the words that ask a chip for these registers."""
    return _words(asic_version, CONFIG_READ, chip_id, addresses, 0)


def _words(asic_version: str, kind: int, chip_id: int, addresses: Any, values: Any) -> Words:
    word_format = format_of(asic_version)
    fields = {
        "packet_type": kind,
        "chip_id": chip_id,
        "register_address": np.asarray(addresses),
        "register_data": values,
    }
    if word_format is V3:
        fields["magic"] = MAGIC
    return encode(fields, word_format)


def registers_read(
    words: Words, asic_version: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return chip id, address and value of every answer among words: config reads with the right parity."""
    word_format = format_of(asic_version)
    chosen = words[
        (field(words, word_format, "packet_type") == CONFIG_READ) & has_good_parity(words, word_format)
    ]
    names = ("chip_id", "register_address", "register_data")
    chip_id, address, value = (field(chosen, word_format, name) for name in names)
    return chip_id, address, value
