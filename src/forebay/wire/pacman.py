"""Messages of PACMAN boards (format 0.0): a header of 8 bytes and words of 16, on every socket of a board.

All integers are little endian. Source: larpix-control's ``pacman_msg_format`` and the firmware of the board.
The receipt timestamp of a data word is in bytes 2 to 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError

DATA_MESSAGE, REQUEST, REPLY = b"D?!"
"""First byte of a message."""

_D, _T, _S, _P, _W, _R, _E = b"DTSPWRE"

HEADER: Final = np.dtype([("kind", "u1"), ("seconds", "<u4"), ("pad", "u1"), ("n_words", "<u2")])
HEADER_BYTES: Final = HEADER.itemsize

WORD: Final = np.dtype([("kind", "u1"), ("channel", "u1"), ("low", "<u4"), ("pad", "<u2"), ("word", "<u8")])
"""As data words have it: `channel` is the io channel, `low` the receipt timestamp."""

MAX_WORDS: Final = 65535

WordRecords = NDArray[np.void]
"""(word,) of `WORD`."""

Frame = bytes | memoryview


@dataclass(frozen=True)
class Message:
    """One message, e.g. a request.

    Attributes
    ----------
    kind:
        `DATA_MESSAGE`, `REQUEST` or `REPLY`.
    seconds:
        Time of the sender, unix seconds.
    words:
        (word,) of `WORD`.
    """

    kind: int
    seconds: int
    words: WordRecords


@dataclass(frozen=True)
class Command:
    """One word of a request or a reply, in the terms of its kind.

    Attributes
    ----------
    kind:
        ``P`` ping, ``W`` write, ``R`` read, ``D`` a word to a chip, ``E`` error.
    register, value:
        Of ``W`` and ``R``.
    channel, word:
        Of ``D``.
    code, text:
        Of ``E``.
    """

    kind: str
    register: int = 0
    value: int = 0
    channel: int = 0
    word: int = 0
    code: int = 0
    text: bytes = b""


def encode(kind: int, seconds: int, words: WordRecords) -> bytes:
    """Return a message; `WireError` if it has more than 65535 words or no 32-bit time."""
    if len(words) > MAX_WORDS or not 0 <= seconds < 2**32:
        raise WireError(f"{len(words)} words at second {seconds} do not fit into one message.")
    header = np.array((kind, seconds, 0, len(words)), HEADER)
    return header.tobytes() + words.tobytes()


def decode(message: Frame) -> Message:
    """Return one message.

    Raises
    ------
    WireError
        If it is cut short, of an unknown kind, or has another number of words than its header says.
    """
    n_words, rest = divmod(len(message) - HEADER_BYTES, WORD.itemsize)
    if n_words < 0 or rest:
        raise WireError(f"A message of a PACMAN board has 8 + 16 n bytes, this one {len(message)}.")
    header = np.frombuffer(message, HEADER, 1)[0]
    if header["kind"] not in (DATA_MESSAGE, REQUEST, REPLY):
        raise WireError(f"A message begins with D, ? or !, this one with {bytes(message[:1])!r}.")
    if header["n_words"] != n_words:
        raise WireError(f"A message says that it has {header['n_words']} words, and has {n_words}.")
    return Message(
        int(header["kind"]), int(header["seconds"]), np.frombuffer(message, WORD, n_words, HEADER_BYTES)
    )


def data_words(io_channel: Any, receipt_timestamp: Any, words: Any) -> WordRecords:
    """Return words from chips; arguments broadcast."""
    channel, receipt, word = np.broadcast_arrays(io_channel, receipt_timestamp, np.asarray(words, np.uint64))
    records = np.zeros(word.shape, WORD)
    records["kind"], records["channel"], records["low"], records["word"] = _D, channel, receipt, word
    return records


def sync_word(sync_type: bytes, timestamp: int, clock_source: int = 0) -> WordRecords:
    """Return a sync word: type ``S`` sync, ``H`` heartbeat or ``C`` clock switch."""
    return _special(_S, sync_type[0], clock_source & 1, timestamp)


def trigger_word(bits: int, timestamp: int) -> WordRecords:
    """Return a trigger word: the trigger bits that rose."""
    return _special(_T, bits, 0, timestamp)


def _special(kind: int, second: int, third: int, timestamp: int) -> WordRecords:
    # The timestamp is in bytes 4 to 7: upper half of `low` and `pad`.
    records = np.zeros(1, WORD)
    records["kind"], records["channel"] = kind, second
    records["low"] = third | (timestamp & 0xFFFF) << 16
    records["pad"] = timestamp >> 16
    return records


def special_timestamps(records: WordRecords) -> NDArray[np.uint32]:
    """Return the 32-bit timestamps of sync and trigger words."""
    high = records["pad"].astype(np.uint32) << np.uint32(16)
    return records["low"] >> np.uint32(16) | high


def encode_commands(kind: int, seconds: int, commands: Sequence[Command]) -> bytes:
    """Return a request or a reply; one word for each command, in their order.

    Raises
    ------
    WireError
        If a command is of no known kind, a number is too large or a text longer than 14 bytes.
    """
    return encode(kind, seconds, np.array([_record(one) for one in commands], "V16").view(WORD))


def _record(one: Command) -> bytes:
    try:
        if one.kind == "P":
            return b"P" + bytes(15)
        if one.kind in ("W", "R"):
            place, value = one.register.to_bytes(4, "little"), one.value.to_bytes(4, "little")
            return one.kind.encode() + bytes(3) + place + bytes(4) + value
        if one.kind == "D":
            return b"D" + one.channel.to_bytes(1) + bytes(6) + one.word.to_bytes(8, "little")
        if one.kind == "E" and len(one.text) <= 14:
            return b"E" + one.code.to_bytes(1) + one.text.ljust(14, b"\0")
    except OverflowError as error:
        raise WireError(f"{one} has a number that is too large: {error}.") from error
    raise WireError(f"{one} is no word of a request or a reply.")


def decode_commands(message: Message) -> list[Command]:
    """Return the words of a request or a reply; `WireError` if one is of no known kind."""
    return [_command(bytes(record)) for record in message.words.view("V16")]


def _command(record: bytes) -> Command:
    kind = record[:1]
    if kind == b"P":
        return Command("P")
    if kind in (b"W", b"R"):
        place, value = record[4:8], record[12:16]
        return Command(kind.decode(), int.from_bytes(place, "little"), int.from_bytes(value, "little"))
    if kind == b"D":
        return Command("D", channel=record[1], word=int.from_bytes(record[8:], "little"))
    if kind == b"E":
        return Command("E", code=record[1], text=record[2:])
    raise WireError(f"A request or a reply has a word of kind {kind!r}.")
