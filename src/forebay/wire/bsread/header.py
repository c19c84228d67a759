"""The two JSON headers of a bsread message: what pulse it is, and which channels it has."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final

import msgspec
import numpy as np

from forebay.errors import WireError
from forebay.pulse import MAX_PULSE_ID
from forebay.wire import compress as bitshuffle
from forebay.wire.bsread import lz4
from forebay.wire.bsread.channel import COMPRESSIONS, Channel
from forebay.wire.bsread.value import MAX_SECONDS, Frame, compress_blocks

MAX_HEADER_BYTES: Final = 16 * 2**20
"""Largest data header that is read, uncompressed: about 150 000 channels."""

Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None


class GlobalTime(msgspec.Struct, frozen=True):
    """Time of the pulse: seconds since 1970, which old senders call ``epoch``, and ns."""

    sec: Seconds = None
    epoch: Seconds = None
    ns: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0


class MainHeader(msgspec.Struct, frozen=True):
    """Frame 0 of a message.

    The hash is the MD5 of frame 1 as sent. It is never trusted: frame 1 itself is compared.
    """

    pulse_id: Annotated[int, msgspec.Meta(ge=0, le=MAX_PULSE_ID)] | float
    htype: str = "bsr_m-1.1"
    global_timestamp: GlobalTime | None = None
    hash: str = ""
    dh_compression: str | None = None


class _DataHeader(msgspec.Struct, frozen=True):
    channels: tuple[Channel, ...]
    htype: str = "bsr_d-1.1"


_MAIN = msgspec.json.Decoder(MainHeader)
_DATA = msgspec.json.Decoder(_DataHeader)


def decode_main(frame: Frame) -> MainHeader:
    """Return frame 0; `WireError` if it is not the main header of a bsread message."""
    try:
        main = _MAIN.decode(frame)
    except (ValueError, RecursionError) as error:
        raise WireError(f"The main header is not one of bsread: {error}.") from error
    _check_htype(main.htype, "bsr_m-")
    return main


def pulse_id_of(main: MainHeader) -> int:
    """Return the pulse id, an integer that some senders write as 100.0; `WireError` if it is none."""
    if isinstance(main.pulse_id, float):
        if not (0 <= main.pulse_id < 2.0**53 and main.pulse_id.is_integer()):
            raise WireError(f"Pulse id {main.pulse_id} is not an integer in 0 .. 2**53 - 1.")
        return int(main.pulse_id)
    return main.pulse_id


def time_ns_of(main: MainHeader) -> int | None:
    """Return the time of the pulse, ns since 1970, or None where the sender gives none."""
    time = main.global_timestamp
    seconds = None if time is None else time.sec if time.sec is not None else time.epoch
    return None if time is None or seconds is None else seconds * 10**9 + time.ns


@dataclass(frozen=True)
class Header:
    """A data header: the very bytes of frame 1 and the channels that they announce.

    Attributes
    ----------
    frame:
        Frame 1 as it was or will be sent, compressed or not.
    compression:
        What the main header calls ``dh_compression``; None where it says nothing.
    channels:
        In the order of the frames.
    """

    frame: bytes
    compression: str | None
    channels: tuple[Channel, ...]

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Position of each channel by its name; of a name that is announced twice, the last."""
        return {channel.name: i for i, channel in enumerate(self.channels)}

    def main(self, pulse_id: int, time_ns: int) -> bytes:
        """Return the main header, frame 0, of a message with this data header."""
        return self._main % (pulse_id, *divmod(time_ns, 10**9))

    @cached_property
    def _main(self) -> bytes:
        known = {"htype": "bsr_m-1.1"} | (
            {} if self.compression is None else {"dh_compression": self.compression}
        )
        digest = hashlib.md5(self.frame, usedforsecurity=False).hexdigest()
        text = json.dumps(known | {"hash": digest}).replace("%", "%%")[:-1]
        return f'{text}, "pulse_id": %d, "global_timestamp": {{"sec": %d, "ns": %d}}}}'.encode()


def decode_header(frame: bytes, compression: str | None) -> Header:
    """Return the data header; `WireError` if it is none or larger than `MAX_HEADER_BYTES`."""
    text = _plain(frame, (compression or "none").lower())
    try:
        data = _DATA.decode(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"The data header is not one of bsread: {error}.") from error
    _check_htype(data.htype, "bsr_d-")
    return Header(frame, compression, data.channels)


def announce(channels: Iterable[Channel | Mapping[str, object]], compression: str | None = None) -> Header:
    """Return the data header that announces these channels.

    Parameters
    ----------
    channels:
        A mapping is written key by key in its own order, unknown keys too, as the reference
        implementation does with declared channels.
    compression:
        Of the header itself, one of `COMPRESSIONS`, or None to say nothing.

    Raises
    ------
    WireError
        If a channel is not one that `decode_header` reads.
    """
    entries = [_entry(channel) if isinstance(channel, Channel) else dict(channel) for channel in channels]
    try:
        text = json.dumps({"htype": "bsr_d-1.1", "channels": entries}).encode()
    except (TypeError, ValueError) as error:
        raise WireError(f"The channels cannot be written as JSON: {error}.") from error
    data = np.frombuffer(text, np.uint8)
    codec = (compression or "none").lower()
    frame = text
    if codec == "lz4":
        frame = lz4.compress(data)
    elif codec == "bitshuffle_lz4":
        frame = bytes(compress_blocks(data))
    return decode_header(frame, compression)


class HeaderCache:
    """The data headers that a stream sent lately: an unchanged header is not parsed again.

    For one stream and one thread. A stream in which channels come and go sends a few headers in turn;
    `size` of them are kept.
    """

    def __init__(self, size: int = 8) -> None:
        self._size = size
        self._last: Header | None = None
        self._known: OrderedDict[tuple[bytes, str | None], Header] = OrderedDict()
        self.changes = 0
        """How often the header was another than the message before had."""

    def get(self, frame: Frame, compression: str | None) -> Header:
        """Return the header of frame 1, the same object for the same bytes; raises as `decode_header`."""
        own = bytes(frame)
        last = self._last
        if last is not None and own == last.frame and compression == last.compression:
            return last
        key = (own, compression)
        header = self._known.get(key) or decode_header(own, compression)
        self._known[key] = header
        self._known.move_to_end(key)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        self._last = header
        self.changes += last is not None
        return header


def _plain(frame: bytes, codec: str) -> Frame:
    if codec not in COMPRESSIONS:
        raise WireError(f"The data header has compression {codec!r}, none of {', '.join(COMPRESSIONS)}.")
    text: Frame = frame
    if codec == "lz4":
        text = lz4.decompress(frame).data
    elif codec == "bitshuffle_lz4":
        n = int.from_bytes(frame[:8], "big")
        text = bitshuffle.decompress(frame, (n,), np.uint8).data
    if len(text) > MAX_HEADER_BYTES:
        raise WireError(f"The data header has {len(text)} bytes; {MAX_HEADER_BYTES} are read.")
    return text


def _check_htype(htype: str, start: str) -> None:
    if not htype.startswith(start):
        raise WireError(f"The header is of type {htype!r}, not {start}1.1: this is no bsread message.")


def _entry(channel: Channel) -> dict[str, object]:
    """Return what is written of a channel, keys in the order of the reference implementation."""
    entry: dict[str, object] = {
        "name": channel.name,
        "type": channel.type,
        "shape": list(channel.shape),
        "encoding": channel.encoding,
    }
    if channel.compression is not None:
        entry["compression"] = channel.compression
    if (channel.modulo, channel.offset) != (1, 0):
        entry |= {"modulo": channel.modulo, "offset": channel.offset}
    return entry
