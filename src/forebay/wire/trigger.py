"""Trigger patterns of the CHEC camera: which superpixels fired, sample by sample, around one trigger.

A datagram begins with 0xCAFE and a type: 0 and 1 (nominal and busy, 16 samples), 2 (any number of samples)
and 3 (as 2, but only of superpixels that fired). All numbers are little endian. Bits of superpixels are
packed from the most significant one on, samples of a superpixel side by side. Source of the format: SSDAQ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forebay.errors import WireError

N_SUPERPIXELS = 512

_MAGIC = 0xCAFE
_UNION_BYTES = N_SUPERPIXELS // 8
_NOMINAL_SAMPLES = 16
_NOMINAL_MARK = 22

_NOMINAL: np.dtype[np.void] = np.dtype(
    [
        ("magic", "<u2"),
        ("type", "u1"),
        ("mark", "u1"),
        ("time_ns", "<u8"),
        ("phase", "u1"),
        ("pattern", "u1", (N_SUPERPIXELS * _NOMINAL_SAMPLES // 8,)),
        ("union", "u1", (_UNION_BYTES,)),
        ("count", "<u4"),
        ("pps", "<u4"),
        ("clock", "<u4"),
        ("trigger_type", "<u2"),
    ]
)
_HEAD: np.dtype[np.void] = np.dtype(
    [
        ("magic", "<u2"),
        ("type", "u1"),
        ("message_type", "u1"),
        ("error_flags", "u1"),
        ("source", "<u2"),
        ("sample_bytes", "u1"),
        ("time_ns", "<u8"),
        ("phase", "u1"),
        ("count", "<u4"),
        ("pps", "<u4"),
        ("clock", "<u4"),
        ("union", "u1", (_UNION_BYTES,)),
    ]
)
_SAMPLE_BYTES_AT = 7


@dataclass(frozen=True, slots=True, eq=False)
class TriggerPattern:
    """One trigger.

    Attributes
    ----------
    type:
        0 nominal, 1 busy, 2 any number of samples, 3 the same without superpixels that did not fire.
    time_ns:
        TACK.
    phase:
        Phase within the sample, one bit of eight.
    union:
        bool (superpixel,): which fired at all.
    pattern:
        bool (sample, superpixel).
    count, pps, clock:
        Counters: of triggers (type 0 and 1) or readouts, of seconds, of the clock since the second.
    trigger_type:
        Of types 0 and 1.
    message_type, error_flags, source:
        Of types 2 and 3; bit 0 of the message type says busy.
    """

    type: int
    time_ns: int
    phase: int
    union: NDArray[np.bool_]
    pattern: NDArray[np.bool_]
    count: int
    pps: int
    clock: int
    trigger_type: int = 0
    message_type: int = 0
    error_flags: int = 0
    source: int = 0

    @property
    def is_busy(self) -> bool:
        """Whether the camera was busy."""
        return self.type == 1 if self.type < 2 else bool(self.message_type & 1)


def type_of(datagram: bytes) -> int:
    """Return the type of a datagram whose magic, type and length are right; nothing is unpacked.

    Raises
    ------
    WireError
        If one of them is none that a trigger pattern has.
    """
    if len(datagram) < 4 or int.from_bytes(datagram[:2], "little") != _MAGIC:
        begin = datagram[:4].hex() or "-"
        raise WireError(f"A trigger pattern begins with 0xCAFE, this datagram with {begin}.")
    kind, n = datagram[2], len(datagram)
    if kind in (0, 1):
        if n != _NOMINAL.itemsize:
            raise WireError(f"A nominal trigger pattern has {_NOMINAL.itemsize} bytes, this one {n}.")
    elif kind in (2, 3):
        _check_long(datagram, kind)
    else:
        raise WireError(f"Trigger pattern of type {kind}: the types are 0 to 3.")
    return kind


def size_of(head: bytes) -> int:
    """Return how many bytes the pattern has that begins so; of what is none, or cut short, a wrong number."""
    if head[2:3] <= b"\x01":
        return _NOMINAL.itemsize
    n_fired, n_bytes = _extent(head)
    return _HEAD.itemsize + n_fired * n_bytes


def _extent(head: bytes) -> tuple[int, int]:
    """Return how many superpixels follow a long head, and of how many bytes each."""
    union = int.from_bytes(head[_HEAD.itemsize - _UNION_BYTES : _HEAD.itemsize], "little")
    n_fired = N_SUPERPIXELS if head[2] == 2 else union.bit_count()
    return n_fired, (head[_SAMPLE_BYTES_AT : _SAMPLE_BYTES_AT + 1] or b"\0")[0]


def _check_long(datagram: bytes, kind: int) -> None:
    n, n_head = len(datagram), _HEAD.itemsize
    if n < n_head:
        raise WireError(f"A trigger pattern of type {kind} has {n_head} bytes at least, not {n}.")
    n_fired, n_bytes = _extent(datagram)
    expected = n_head + n_fired * n_bytes
    if not n_bytes or n != expected:
        raise WireError(
            f"A trigger pattern of type {kind} with {n_fired} superpixels of {n_bytes} bytes has "
            f"{expected} bytes, this one {n}."
        )


def decode(datagram: bytes | memoryview) -> TriggerPattern:
    """Read one datagram of any type; raises as `type_of`."""
    data = bytes(datagram)
    kind = type_of(data)
    return _nominal(data) if kind < 2 else _long(data, kind)


def _nominal(data: bytes) -> TriggerPattern:
    head = np.frombuffer(data, _NOMINAL)[0]
    return TriggerPattern(
        type=int(head["type"]),
        time_ns=int(head["time_ns"]),
        phase=_reversed(int(head["phase"])),
        union=_bits(head["union"]),
        pattern=_bits(head["pattern"]).reshape(N_SUPERPIXELS, _NOMINAL_SAMPLES).T,
        count=int(head["count"]),
        pps=int(head["pps"]),
        clock=int(head["clock"]),
        trigger_type=int(head["trigger_type"]),
    )


def _long(data: bytes, kind: int) -> TriggerPattern:
    head = np.frombuffer(data, _HEAD, 1)[0]
    union = _bits(head["union"])
    n_bytes = int(head["sample_bytes"])
    fired = np.arange(N_SUPERPIXELS) if kind == 2 else np.flatnonzero(union)
    pattern = np.zeros((N_SUPERPIXELS, n_bytes * 8), bool)
    pattern[fired] = _bits(np.frombuffer(data, np.uint8, offset=_HEAD.itemsize)).reshape(fired.size, -1)
    return TriggerPattern(
        type=kind,
        time_ns=int(head["time_ns"]),
        phase=_reversed(int(head["phase"])),
        union=union,
        pattern=pattern.T,
        count=int(head["count"]),
        pps=int(head["pps"]),
        clock=int(head["clock"]),
        message_type=int(head["message_type"]),
        error_flags=int(head["error_flags"]),
        source=int(head["source"]),
    )


def encode(trigger: TriggerPattern) -> bytes:
    """Return the datagram of a trigger.

    Raises
    ------
    WireError
        If its type is none, the number of samples does not fit the type, or, in type 3, a superpixel
        fired that is not in the union.
    """
    n_samples = trigger.pattern.shape[0]
    fits = n_samples == _NOMINAL_SAMPLES if trigger.type < 2 else n_samples % 8 == 0 and 0 < n_samples < 2048
    if trigger.type not in (0, 1, 2, 3) or trigger.pattern.shape[1:] != (N_SUPERPIXELS,) or not fits:
        raise WireError(f"A trigger pattern of type {trigger.type} and {trigger.pattern.shape} is none.")
    head = np.zeros(1, _NOMINAL if trigger.type < 2 else _HEAD)
    head["magic"] = _MAGIC
    head["phase"] = _reversed(trigger.phase)
    head["union"] = np.packbits(trigger.union)
    for name in ("type", "time_ns", "count", "pps", "clock"):
        head[name] = getattr(trigger, name)
    if trigger.type < 2:
        head["mark"] = _NOMINAL_MARK
        head["trigger_type"] = trigger.trigger_type
        head["pattern"] = np.packbits(trigger.pattern.T)
        return head.tobytes()
    for name in ("message_type", "error_flags", "source"):
        head[name] = getattr(trigger, name)
    head["sample_bytes"] = n_samples // 8
    sent = trigger.pattern.T
    if trigger.type == 3:
        if sent[~trigger.union].any():
            raise WireError("A superpixel fired that is not in the union of the trigger pattern.")
        sent = sent[trigger.union]
    return head.tobytes() + np.packbits(sent).tobytes()


def _bits(packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.unpackbits(packed).astype(bool)


def _reversed(byte: int) -> int:
    return int(f"{byte:08b}"[::-1], 2)
