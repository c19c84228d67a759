"""Value and timestamp frames of bsread, to and from arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError
from forebay.event import Array
from forebay.wire import compress as bitshuffle
from forebay.wire.bsread import lz4
from forebay.wire.bsread.channel import Channel

Frame = bytes | memoryview
"""One part of a message, contiguous bytes."""

TIMESTAMP_BYTES = 16

BORROW_BYTES = 65_536
"""From here on a frame of an uncompressed array is the array's own memory, not a copy."""

MAX_SECONDS = 2**63 // 10**9 - 2
"""Largest seconds, either side of 1970, whose ns surely fit a signed 64-bit integer."""

_BLOCK_BYTES = 8192
_TIMES = (Struct("<qq"), Struct(">qq"))


def is_missing(channel: Channel, frame: Frame) -> bool:
    """Whether a value frame says that there is no value.

    It does when it is empty and when it is compressed and says size 0: empty strings and arrays cannot
    be told from missing ones on the wire.
    """
    return not frame or (channel.is_compressed and not any(frame[:8]))


def decode_value(channel: Channel, frame: Frame) -> Array:
    """Return the value of one frame, read only, in wire byte order and of `Channel.array_shape`.

    Uncompressed numbers are not copied. A string is one element of NumPy's text type; NUL characters at
    its end, which some C producers send, are not part of it.

    Raises
    ------
    WireError
        If type, compression or byte order are unknown, the length is not what the shape says, or the
        bytes do not decompress or are no UTF-8.
    """
    if channel.is_plain and len(frame) == channel.n_bytes and isinstance(frame, bytes):
        return np.ndarray(channel.array_shape, channel.dtype, frame)  # the quickest way, read only by itself
    if channel.is_string:
        array: Array = np.array([_text(channel, frame)])
    elif channel.codec == "none":
        array = _numbers(channel, frame, channel.array_shape)
    else:
        array = _decompressed(channel, frame)
    array.flags.writeable = False
    return array


def decode_values(channel: Channel, frames: Sequence[Frame]) -> Array:
    """Return the values of many frames of one channel, (frame, ...) with the rest as `Channel.array_shape`.

    The quick way to a block of rows: uncompressed numbers are joined, not decoded one by one. Strings
    come as an array of Python's str objects, (frame, 1): they differ in length.

    Raises
    ------
    WireError
        As `decode_value`, for the first frame that is wrong.
    """
    if channel.is_string:
        texts = np.empty((len(frames), 1), object)
        texts[:, 0] = [_text(channel, frame) for frame in frames]
        return texts
    if channel.codec != "none" and frames:
        return np.stack([_decompressed(channel, frame) for frame in frames])  # each checks its length first
    for n in set(map(len, frames)) - {channel.n_bytes}:
        raise _wrong_length(channel, n)
    return _numbers(channel, b"".join(frames), (len(frames), *channel.array_shape))


def encode_value(channel: Channel, value: object) -> Frame:
    """Return the frame of one value.

    Frames of `BORROW_BYTES` and more that are not compressed share the memory of a contiguous array:
    leave it alone until they are sent.

    Raises
    ------
    WireError
        If the value is not of the channel's type and shape. Numbers may be given in another type:
        integers and bool take what they can hold exactly, floats take any number.
    """
    data = _bytes_of(channel, value) if channel.is_string else _array_of(channel, value)
    if channel.codec == "lz4":
        return lz4.compress(data.reshape(-1).view(np.uint8))
    if channel.codec == "bitshuffle_lz4":
        return compress_blocks(data)
    if data.nbytes < BORROW_BYTES:
        return data.tobytes()
    return data.reshape(-1).view(np.uint8).data


def compress_blocks(data: Array) -> memoryview:
    """Return the bitshuffle-LZ4 chunk of an array with the block size that bsread senders use."""
    elements = _BLOCK_BYTES // data.itemsize // 8 * 8
    return bitshuffle.compress(data, elements).data


def decode_time(channel: Channel, frame: Frame) -> int:
    """Return the ns since 1970 of a timestamp frame; `WireError` if they do not fit 64 bits."""
    if len(frame) != TIMESTAMP_BYTES:
        raise _wrong_time(channel, f"has {len(frame)} bytes")
    seconds, ns = _TIMES[channel.is_big].unpack(frame)
    if abs(seconds) > MAX_SECONDS or abs(ns) > 10**9:
        raise _wrong_time(channel, "is out of range")
    return int(seconds * 10**9 + ns)


def decode_times(channel: Channel, frames: Sequence[Frame]) -> NDArray[np.int64]:
    """Return the ns since 1970 of many timestamp frames, (frame,); raises as `decode_time`."""
    for n in set(map(len, frames)) - {TIMESTAMP_BYTES}:
        raise _wrong_time(channel, f"has {n} bytes")
    words = np.frombuffer(b"".join(frames), ">i8" if channel.is_big else "<i8").reshape(-1, 2)
    limits = np.array([MAX_SECONDS, 10**9])
    if not np.all((-limits <= words) & (words <= limits)):
        raise _wrong_time(channel, "is out of range")
    return np.asarray(words[:, 0] * 10**9 + words[:, 1], np.int64)


def encode_time(time_ns: int, *, big: bool) -> bytes:
    """Return a timestamp frame: seconds and ns as two 64-bit integers."""
    return _TIMES[big].pack(*divmod(time_ns, 10**9))


def _text(channel: Channel, frame: Frame) -> str:
    try:
        return bytes(_text_bytes(channel, frame)).decode()
    except UnicodeDecodeError as error:
        raise WireError(f"Channel {channel.name!r}: the text is no UTF-8: {error.reason}.") from error


def _text_bytes(channel: Channel, frame: Frame) -> Frame:
    if channel.codec == "none":
        return frame
    if channel.codec == "lz4":
        return lz4.decompress(frame).data
    return bitshuffle.decompress(frame, (int.from_bytes(frame[:8], "big"),), np.uint8).data


def _numbers(channel: Channel, data: Frame, shape: tuple[int, ...]) -> Array:
    if len(data) != math.prod(shape) * channel.dtype.itemsize:
        raise _wrong_length(channel, len(data))
    if channel.dtype == np.bool:
        return _truth(np.frombuffer(data, np.uint8).reshape(shape))
    return np.frombuffer(data, channel.dtype).reshape(shape)


def _decompressed(channel: Channel, frame: Frame) -> Array:
    if channel.codec == "lz4":
        return _numbers(channel, lz4.decompress(frame, channel.n_bytes).data, channel.array_shape)
    if channel.dtype == np.bool:
        return _truth(bitshuffle.decompress(frame, channel.array_shape, np.uint8))
    return bitshuffle.decompress(frame, channel.array_shape, channel.dtype)


def _truth(array: Array) -> Array:
    """Return bool: a byte other than 0 and 1 is no bool to NumPy, though True to every sender."""
    return np.asarray(array != 0)


def _bytes_of(channel: Channel, value: object) -> Array:
    text = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    if not isinstance(text, str):
        raise WireError(f"Channel {channel.name!r} is a string; a {type(value).__name__} cannot be sent.")
    try:
        return np.frombuffer(text.encode(), np.uint8)
    except UnicodeEncodeError as error:
        raise WireError(f"Channel {channel.name!r}: the text cannot be UTF-8: {error.reason}.") from error


def _array_of(channel: Channel, value: object) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise WireError(f"Channel {channel.name!r}: the value is no array: {error}.") from error
    if array.shape != channel.array_shape and not (array.ndim == 0 and channel.array_shape == (1,)):
        raise WireError(
            f"Channel {channel.name!r} is {channel.array_shape}, slowest first; the value is {array.shape}."
        )
    if array.dtype != channel.dtype:
        array = _converted(channel, array)
    return np.ascontiguousarray(array)


def _converted(channel: Channel, given: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        array = given.astype(channel.dtype) if given.dtype.kind in "biuf" else None
    if array is None or (channel.dtype.kind != "f" and not np.array_equal(given, array)):
        raise WireError(
            f"Channel {channel.name!r} is {channel.type}; this value of {given.dtype} does not fit."
        )
    return array


def _wrong_length(channel: Channel, n: int) -> WireError:
    return WireError(
        f"Channel {channel.name!r}: {n} bytes are not {channel.type} of shape {list(channel.shape)}."
    )


def _wrong_time(channel: Channel, found: str) -> WireError:
    return WireError(
        f"Channel {channel.name!r}: a timestamp {found}; it is seconds and ns in {TIMESTAMP_BYTES} bytes."
    )
