"""Batches of frames as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.ring.slots import FRAME
from forebay.wire.frames import MAX_BYTES, FrameBatch, decode, encode

pytestmark = pytest.mark.unit

WORD = st.integers(0, 2**64 - 1)


def batch(n: int = 3) -> FrameBatch:
    frames = np.zeros(n, FRAME)
    frames["pulse_id"] = np.arange(n, dtype=np.uint64) + np.uint64(2**63)
    return FrameBatch(frames, "jungfrau", 7, 5, 2)


@given(st.binary(max_size=10).map(lambda b: b * FRAME.itemsize), WORD, WORD, WORD)
def test_round_trip(records: bytes, generation: int, instance: int, sequence: int) -> None:
    frames = np.frombuffer(records, FRAME) if records else np.empty(0, FRAME)
    got = decode([bytes(p) for p in encode(FrameBatch(frames, "r", generation, instance, sequence))], FRAME)
    assert got.frames.tobytes() == records
    assert got.frames.dtype == FRAME
    assert (got.ring, got.generation, got.instance, got.sequence) == ("r", generation, instance, sequence)


def test_records_of_another_version_are_refused() -> None:
    other = np.dtype([(name, FRAME[name]) for name in FRAME.names[::-1]])
    with pytest.raises(WireError, match="same version"):
        decode(encode(batch()), other)


def test_too_many_frames_are_refused() -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        encode(FrameBatch(np.zeros(MAX_BYTES // FRAME.itemsize + 1, FRAME), "r", 0, 0, 0))


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_garbage_is_a_wire_error(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts, FRAME)


@given(st.data())
def test_damaged_batches_are_whole_or_a_wire_error(data: st.DataObject) -> None:
    parts = [bytearray(p) for p in encode(batch())]
    part = parts[data.draw(st.integers(0, 1))]
    part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(parts[1])))
    try:
        got = decode([bytes(parts[0]), bytes(parts[1][:cut])], FRAME)
    except WireError:
        return
    assert len(got.frames) == cut // FRAME.itemsize


def test_numbers_beyond_64_bits_are_refused() -> None:
    header, records = encode(batch())
    with pytest.raises(WireError, match="64 bits"):
        decode(
            [bytes(header).replace(b'"generation":7', b'"generation":18446744073709551616'), records], FRAME
        )
