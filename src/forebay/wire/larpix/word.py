"""LArPix words: which bits of a word of which chip are which field; decoded column by column.

Bits count from the least significant of the little-endian integer. Sources: the data sheets of the chips as
larpix-control has them; for version 3 its branch for these chips (`packet_v3`) and the test benches of the
chip's own description, which agree bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError, WireError

Words = NDArray[np.uint64]
"""One word an element, whatever its number of bits."""

Columns = dict[str, NDArray[Any]]
"""Field -> one value a word, in the narrowest unsigned integers that hold the field."""

DATA, TEST, CONFIG_WRITE, CONFIG_READ = range(4)
"""Types of packets of version 1 and 2; version 3 calls its data packets 1."""

Fields = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class WordFormat:
    """The word of one generation of chips.

    Attributes
    ----------
    n_bytes:
        Bytes of a word on the serial line.
    n_bits:
        Bits of a word; those above are 0 or ignored.
    data_type:
        The packet type of data.
    fields:
        Field -> first bit, number of bits. Fields overlap: which of them mean something depends on the
        packet type.
    """

    n_bytes: int
    n_bits: int
    data_type: int
    fields: Fields

    @property
    def mask(self) -> np.uint64:
        """All bits of a word."""
        return np.uint64(2**self.n_bits - 1)

    @property
    def parity_bit(self) -> int:
        """The bit that makes the number of ones odd."""
        return self.fields["parity"][0]


_ALL: Fields = {
    "packet_type": (0, 2),
    "chip_id": (2, 8),
    "register_address": (10, 8),
    "register_data": (18, 8),
}
_TAIL: Fields = {
    "trigger_type": (56, 2),
    "local_fifo": (58, 2),
    "shared_fifo": (60, 2),
    "downstream_marker": (62, 1),
    "parity": (63, 1),
}

V1: Final = WordFormat(
    7,
    54,
    DATA,
    MappingProxyType(
        {
            **_ALL,
            "channel_id": (10, 7),
            "timestamp": (17, 24),
            "dataword": (41, 10),
            "fifo_half": (51, 1),
            "fifo_full": (52, 1),
            "parity": (53, 1),
        }
    ),
)
V2: Final = WordFormat(
    8,
    64,
    DATA,
    MappingProxyType(
        {
            **_ALL,
            "channel_id": (10, 6),
            "timestamp": (16, 31),
            "first_packet": (47, 1),
            "dataword": (48, 8),
            **_TAIL,
        }
    ),
)
V2_DIAGNOSTICS: Final = WordFormat(
    8,
    64,
    DATA,
    MappingProxyType(
        {**V2.fields, "timestamp": (16, 16), "shared_fifo_events": (32, 12), "local_fifo_events": (44, 2)}
    ),
)
V3: Final = WordFormat(
    8,
    64,
    TEST,
    MappingProxyType(
        {
            **_ALL,
            "channel_id": (10, 6),
            "timestamp": (16, 28),
            "reset_sample_flag": (44, 1),
            "cds_flag": (45, 1),
            "dataword": (46, 10),
            "magic": (26, 32),
            **_TAIL,
        }
    ),
)

FORMATS: Final[Mapping[str, WordFormat]] = MappingProxyType(
    {"1": V1, "2": V2, "2b": V2, "lightpix-1": V2, "3": V3}
)
"""Version of a chip, as configurations name it -> its words."""


def format_of(asic_version: str) -> WordFormat:
    """Return the word of a chip's version.

    Raises
    ------
    ConfigError
        If there is no such version.
    """
    try:
        return FORMATS[asic_version]
    except KeyError:
        raise ConfigError(
            f"There is no LArPix chip of version {asic_version!r}.",
            f"The versions are: {', '.join(FORMATS)}.",
        ) from None


def field(words: Words, word_format: WordFormat, name: str) -> NDArray[Any]:
    """Return one field of every word."""
    first, n_bits = word_format.fields[name]
    kind = np.min_scalar_type(2**n_bits - 1)
    if kind == np.uint8 and first % 8 == 0 and n_bits == 8:
        return np.ascontiguousarray(words).view(np.uint8)[first // 8 :: 8]
    return ((words >> np.uint64(first)) & np.uint64(2**n_bits - 1)).astype(kind)


def has_good_parity(words: Words, word_format: WordFormat = V2) -> NDArray[np.bool_]:
    """Whether the number of ones of each word is odd, as it must be."""
    is_good: NDArray[np.bool_] = np.bitwise_count(words & word_format.mask) & 1 == 1
    return is_good


def decode(words: Words, word_format: WordFormat = V2) -> Columns:
    """Return every field of every word, whatever its packet type, and ``valid_parity``."""
    columns: Columns = {name: field(words, word_format, name) for name in word_format.fields}
    columns["valid_parity"] = has_good_parity(words, word_format)
    return columns


def encode(
    fields: Mapping[str, Any], word_format: WordFormat = V2, *, parity: NDArray[np.integer[Any]] | None = None
) -> Words:
    """Return words of columns, or of single values, that broadcast against each other.

    Parameters
    ----------
    fields:
        Those that are not named are 0; overlapping ones must agree. ``parity`` is not looked at.
    parity:
        The parity bits; None makes them right.

    Raises
    ------
    WireError
        If there is no such field, or a value is negative or too large for it.
    """
    columns = {
        name: np.asarray(value) for name, value in fields.items() if name not in ("parity", "valid_parity")
    }
    words = np.zeros(np.broadcast_shapes(*(column.shape for column in columns.values())), np.uint64)
    for name, column in columns.items():
        if name not in word_format.fields:
            raise WireError(f"{name!r} is no field of these words: {', '.join(word_format.fields)}.")
        first, n_bits = word_format.fields[name]
        if column.size and not (int(column.min()) >= 0 and int(column.max()) < 2**n_bits):
            raise WireError(f"{name} {column.min()} .. {column.max()} does not fit into {n_bits} bits.")
        words |= column.astype(np.uint64) << np.uint64(first)
    ones = np.bitwise_count(words & ~(np.uint64(1) << np.uint64(word_format.parity_bit))) & 1
    bits = 1 - ones if parity is None else np.asarray(parity)
    return words | bits.astype(np.uint64) << np.uint64(word_format.parity_bit)


def test_counter(words: Words) -> NDArray[np.uint16]:
    """Return the counter of test packets of version 1, which lies in two places of the word."""
    high, low = (words >> np.uint64(10)) & np.uint64(15), (words >> np.uint64(41)) & np.uint64(0xFFF)
    return (high << np.uint64(12) | low).astype(np.uint16)


def from_bytes(data: bytes | memoryview, word_format: WordFormat = V2) -> Words:
    """Return words from the bytes of a serial line, byte 0 first.

    Raises
    ------
    WireError
        If the bytes are no whole number of words.
    """
    n, rest = divmod(len(data), word_format.n_bytes)
    if rest:
        raise WireError(f"{len(data)} bytes are no whole number of words of {word_format.n_bytes} bytes.")
    padded = np.zeros((n, 8), np.uint8)
    padded[:, : word_format.n_bytes] = np.frombuffer(data, np.uint8).reshape(n, word_format.n_bytes)
    return padded.view("<u8").reshape(n).astype(np.uint64) & word_format.mask


def to_bytes(words: Words, word_format: WordFormat = V2) -> bytes:
    """Return the bytes of words, byte 0 first."""
    as_bytes = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1, 8)
    return as_bytes[:, : word_format.n_bytes].tobytes()
