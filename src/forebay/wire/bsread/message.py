"""bsread messages to and from events; an event keeps its frames and decodes a channel when asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np

from forebay.errors import WireError
from forebay.event import Array, Event
from forebay.pulse import MAX_PULSE_ID
from forebay.wire.bsread.channel import Channel, describe
from forebay.wire.bsread.header import (
    Header,
    HeaderCache,
    announce,
    decode_main,
    pulse_id_of,
    time_ns_of,
)
from forebay.wire.bsread.value import (
    MAX_SECONDS,
    TIMESTAMP_BYTES,
    Frame,
    decode_time,
    decode_value,
    encode_time,
    encode_value,
    is_missing,
)

_NO_MODULES = np.zeros(0, np.uint32)
_NO_MODULES.flags.writeable = False


class BsreadArrays(Mapping[str, Array]):
    """The channels of one message that have a value; each access decodes anew, nothing before.

    Iteration, length and ``in`` count the channels that have a value; `header` names all of them.
    Looking up one raises `KeyError` if it has none and `WireError` if its bytes are wrong.

    Attributes
    ----------
    header:
        The data header; the same object in all messages that were sent with the same header.
    parts:
        The frames as they came, to forward or store.
    time_ns:
        Time of the pulse, ns since 1970.
    """

    __slots__ = ("header", "parts", "time_ns")

    def __init__(self, header: Header, parts: tuple[Frame, ...], time_ns: int) -> None:
        self.header = header
        self.parts = parts
        self.time_ns = time_ns

    def __getitem__(self, name: str) -> Array:
        i = self.header.positions[name]
        channel, frame = self.header.channels[i], self._part(2 + 2 * i)
        if is_missing(channel, frame):
            raise KeyError(name)
        return decode_value(channel, frame)

    def __iter__(self) -> Iterator[str]:
        channels = self.header.channels
        for name, i in self.header.positions.items():
            if not is_missing(channels[i], self._part(2 + 2 * i)):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self.header.positions and self.is_present(str(name))

    def channel(self, name: str) -> Channel:
        """Return how a channel was announced; `KeyError` if it was not."""
        return self.header.channels[self.header.positions[name]]

    def frame(self, name: str) -> Frame:
        """Return the value frame as it came, empty where none came; `KeyError` if not announced."""
        return self._part(2 + 2 * self.header.positions[name])

    def timestamp_frame(self, name: str) -> Frame:
        """Return the timestamp frame as it came, empty where none came; `KeyError` if not announced."""
        return self._part(3 + 2 * self.header.positions[name])

    def is_present(self, name: str) -> bool:
        """Whether an announced channel has a value; `KeyError` if it was not announced."""
        return not is_missing(self.channel(name), self.frame(name))

    def timestamp_ns(self, name: str) -> int:
        """Return the channel's own time, ns since 1970; that of the pulse where it has none.

        Raises
        ------
        KeyError
            If the channel was not announced.
        WireError
            If its timestamp is out of range or its byte order unknown.
        """
        i = self.header.positions[name]
        frame = self._part(3 + 2 * i)
        return decode_time(self.header.channels[i], frame) if frame else self.time_ns

    @property
    def nbytes(self) -> int:
        """Bytes of all frames: what the message costs a ring."""
        return sum(map(len, self.parts))

    def _part(self, i: int) -> Frame:
        return self.parts[i] if i < len(self.parts) else b""


def decode(
    parts: Sequence[Frame], cache: HeaderCache, *, source: str = "bsread", arrived_ns: int = 0
) -> Event:
    """Return the event of one message; only its headers are read.

    Read as well as a full message: one with no or too few value frames (the rest is missing), with one
    empty frame too many, as old Java senders write it, and a last value without its timestamp.

    Parameters
    ----------
    parts:
        The frames. They are kept, not copied: do not write into their memory.
    cache:
        Of this stream.
    source:
        Name of the stream, for the event.
    arrived_ns:
        Time of the event if the sender gives none, ns since 1970.

    Raises
    ------
    WireError
        If a header cannot be read, the pulse id is none, there are more frames than the header
        announces, or a timestamp frame has not 0 or 16 bytes, as when a part of the message is lost.
    """
    if len(parts) < 2:
        raise WireError(f"A bsread message has at least 2 frames, this one {len(parts)}.")
    main = decode_main(parts[0])
    pulse_id = pulse_id_of(main)
    header = cache.get(parts[1], main.dh_compression)
    n_announced = 2 + 2 * len(header.channels)
    if len(parts) > n_announced and (len(parts) > n_announced + 1 or len(parts[-1])):
        raise WireError(
            f"Pulse {pulse_id}: {len(parts)} frames; {len(header.channels)} channels make {n_announced}."
        )
    for n in set(map(len, parts[3::2])) - {0, TIMESTAMP_BYTES}:
        raise WireError(f"Pulse {pulse_id}: a timestamp frame has {n} bytes; a frame may be lost.")
    time_ns = time_ns_of(main)
    if time_ns is None:
        time_ns = arrived_ns
    return Event(source, pulse_id, time_ns, BsreadArrays(header, tuple(parts), time_ns), _NO_MODULES)


def message(
    header: Header,
    pulse_id: int,
    time_ns: int,
    values: Mapping[str, object],
    timestamps_ns: Mapping[str, int] | None = None,
) -> list[Frame]:
    """Return the frames of one message.

    Parameters
    ----------
    header:
        From `announce`; made once, used for all messages until a channel changes.
    time_ns:
        Time of the pulse, ns since 1970, and of every channel that `timestamps_ns` does not name.
    values:
        By channel. One that is absent or None is sent as missing, two empty frames.

    Raises
    ------
    WireError
        If a value is not what the header announces or was not announced, or a number is out of range.
    """
    if not 0 <= pulse_id <= MAX_PULSE_ID:
        raise WireError(f"Pulse id {pulse_id} is outside 0 .. {MAX_PULSE_ID}.")
    unknown = values.keys() - header.positions.keys()
    if unknown:
        raise WireError(f"The header does not announce {', '.join(sorted(unknown))}.")
    times = _times(time_ns)
    frames: list[Frame] = [header.main(pulse_id, time_ns), header.frame]
    for channel in header.channels:
        value = values.get(channel.name)
        if value is None:
            frames += (b"", b"")
        else:
            own = times
            if timestamps_ns and channel.name in timestamps_ns:
                own = _times(timestamps_ns[channel.name])
            frames += (encode_value(channel, value), own[channel.is_big])
    return frames


def encode(event: Event, compression: str | None = None) -> list[Frame]:
    """Return the frames of an event: the very ones that it came with, else made from its arrays.

    Parameters
    ----------
    compression:
        Of the values of an event that did not come as bsread message; None says nothing in the header.

    Raises
    ------
    WireError
        If an array is of no type that bsread has.
    """
    if isinstance(event.arrays, BsreadArrays):
        return list(event.arrays.parts)
    channels = tuple(describe(name, array, compression) for name, array in event.arrays.items())
    return message(_announced(channels), event.pulse_id, event.time_ns, event.arrays)


@lru_cache(maxsize=16)
def _announced(channels: tuple[Channel, ...]) -> Header:
    return announce(channels)


def _times(time_ns: int) -> tuple[bytes, bytes]:
    if not 0 <= time_ns <= MAX_SECONDS * 10**9:
        raise WireError(f"Time {time_ns} ns is outside 1970 .. 2262.")
    return encode_time(time_ns, big=False), encode_time(time_ns, big=True)
