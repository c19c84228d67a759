"""Messages of the Bern data server, version 1.0: words of chips, a time or a heartbeat behind 8 bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from forebay.errors import WireError
from forebay.wire import pacman
from forebay.wire.larpix.word import V1, V2, WordFormat, Words

VERSION: Final = (1, 0)
_HEAD_BYTES: Final = 8


@dataclass(frozen=True, eq=False)
class ServerMessage:
    """One message.

    Attributes
    ----------
    kind:
        ``D`` data, ``T`` time or ``H`` heartbeat.
    io_channel:
        Of data.
    words:
        Of data.
    seconds:
        Of a time, unix seconds.
    version:
        Major and minor; others than `VERSION` are read all the same.
    """

    kind: str
    io_channel: int = 0
    words: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    seconds: int = 0
    version: tuple[int, int] = VERSION


def encode(message: ServerMessage) -> bytes:
    """Return the bytes of a message; `WireError` if it is of no known kind or its time too large."""
    head = bytes(message.version) + message.kind.encode()
    if message.kind == "D":
        return head + bytes([message.io_channel, 0, 0, 0, 0]) + message.words.astype("<u8").tobytes()
    if message.kind == "T" and 0 <= message.seconds < 2**56:
        return head + bytes(5) + message.seconds.to_bytes(8, "little")
    if message.kind == "H":
        return head + b"HB" + bytes(3)
    raise WireError(f"A message of kind {message.kind!r} at {message.seconds} s cannot be written.")


def decode(data: bytes, word_format: WordFormat = V2) -> ServerMessage:
    """Return a message.

    Parameters
    ----------
    data:
        Times may have 9 bytes for 8, as some senders have it.
    word_format:
        Of the chips behind this server.

    Raises
    ------
    WireError
        If it is cut short or of no known kind.
    """
    if len(data) < _HEAD_BYTES:
        raise WireError(f"A message of the data server has 8 bytes or more, this one {len(data)}.")
    kind, body = data[2:3], data[_HEAD_BYTES:]
    version = data[0], data[1]
    if kind == b"D" and len(body) % 8 == 0:
        words = np.frombuffer(body, "<u8").astype(np.uint64) & word_format.mask
        return ServerMessage("D", data[3], words, version=version)
    if kind == b"T" and len(body) >= V1.n_bytes:
        return ServerMessage("T", seconds=int.from_bytes(body[:7], "little"), version=version)
    if kind == b"H" and data[3:5] == b"HB":
        return ServerMessage("H", version=version)
    raise WireError(f"A message of the data server, {len(data)} bytes, begins with {data[:8]!r}.")


def send_word(word: int, io_channel: int, word_format: WordFormat = V2) -> bytes:
    """Return the text that asks the server to send a word to the chips behind an io channel.

    Raises
    ------
    WireError
        If the word has more bits than the chips' words, or there is no such channel.
    """
    if not 0 <= word < 2**word_format.n_bits or not 0 <= io_channel <= 255:
        raise WireError(f"The word {word:#x} cannot be sent to io channel {io_channel}.")
    return f"SNDWORD 0x{word:016x} {io_channel}".encode()


class Translator:
    """Messages of one data server as those of a PACMAN board, with which the rest of the house works.

    Data become data messages of the second that the server said last, or of the host's before it said one;
    its times and heartbeats are counted and have no message. What is no message becomes an empty one, which
    nobody takes for a good one. There are no receipt timestamps.

    Parameters
    ----------
    channels:
        Io channel of the server -> that of the chips; others are the same.

    Attributes
    ----------
    n_times, n_heartbeats:
        Messages of these kinds.
    """

    def __init__(self, word_format: WordFormat, channels: Mapping[int, int] | None = None) -> None:
        self.n_times = self.n_heartbeats = 0
        self._word_format = word_format
        self._channels = channels or {}
        self._offset: float | None = None

    def translate(self, messages: Sequence[bytes], now_s: float) -> list[bytes]:
        """Return messages of a board; `now_s` is the time of the host, unix seconds."""
        made = []
        for data in messages:
            try:
                message = decode(data, self._word_format)
            except WireError:
                made.append(b"")
                continue
            if message.kind == "D":
                made += self._data(message, int(now_s + (self._offset or 0.0)))
            elif message.kind == "T":
                self.n_times += 1
                self._offset = min(message.seconds, 2**32 - 1) - now_s
            else:
                self.n_heartbeats += 1
        return made

    def _data(self, message: ServerMessage, second: int) -> list[bytes]:
        channel = self._channels.get(message.io_channel, message.io_channel)
        records = pacman.data_words(channel, 0, message.words)
        return [
            pacman.encode(pacman.DATA_MESSAGE, max(second, 0), records[start : start + pacman.MAX_WORDS])
            for start in range(0, max(len(records), 1), pacman.MAX_WORDS)
        ]


def serial(words: Words) -> bytes:
    """Return the bytes of words on a serial link: ``s``, 8 bytes and ``q`` for each."""
    records = np.zeros(len(words), [("start", "S1"), ("word", "<u8"), ("stop", "S1")])
    records["start"], records["word"], records["stop"] = b"s", words, b"q"
    return records.tobytes()


def from_serial(data: bytes) -> Words:
    """Return the words of bytes of a serial link; `WireError` if they are not framed as such."""
    framed = np.frombuffer(data, np.uint8)
    if len(framed) % 10:
        raise WireError(f"{len(data)} bytes of a serial link are no whole number of frames of 10.")
    records = framed.reshape(-1, 10)
    if (records[:, 0] != ord("s")).any() or (records[:, 9] != ord("q")).any():
        raise WireError("A frame of a serial link begins with 's' and ends with 'q'.")
    words: Words = np.ascontiguousarray(records[:, 1:9]).view("<u8").ravel().astype(np.uint64)
    return words
