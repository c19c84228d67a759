"""bsread messages (bsr_m-1.1, bsr_d-1.1): all values of one stream for one pulse, as ZeroMQ frames."""

from forebay.wire.bsread.channel import COMPRESSIONS, TYPES, Channel, describe
from forebay.wire.bsread.header import Header, HeaderCache, announce
from forebay.wire.bsread.message import BsreadArrays, decode, encode, message
from forebay.wire.bsread.value import Frame, decode_times, decode_values

__all__ = [
    "COMPRESSIONS",
    "TYPES",
    "BsreadArrays",
    "Channel",
    "Frame",
    "Header",
    "HeaderCache",
    "announce",
    "decode",
    "decode_times",
    "decode_values",
    "describe",
    "encode",
    "message",
]
