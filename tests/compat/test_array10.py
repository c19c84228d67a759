"""The live format array-1.0 as std_detector_buffer sends it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from forebay.errors import WireError
from forebay.wire.array10 import TYPES, decode, encode

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "array10"


@pytest.mark.parametrize(
    ("name", "shape"), [("eg4", (514, 1030)), ("gf", (512, 1008)), ("jf2", (1024, 1024))]
)
def test_header_is_theirs_to_the_byte(name: str, shape: tuple[int, int]) -> None:
    golden = (VECTORS / f"{name}_live_array10_0_part0.bin").read_bytes()
    image = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    header, pixels = encode(image, 1)
    assert bytes(header) == golden
    assert bytes(pixels) == image.tobytes()
    got = decode([golden, image.tobytes()])
    assert got.frame == 1
    np.testing.assert_array_equal(got.data, image)


@given(
    st.sampled_from(TYPES).flatmap(
        lambda kind: npst.arrays(
            kind, npst.array_shapes(min_dims=2, max_dims=2, min_side=0), fill=st.nothing()
        )
    ),
    st.integers(0, 2**64 - 1),
)
def test_round_trip(image: np.ndarray, frame: int) -> None:
    got = decode([bytes(part) for part in encode(image, frame)])
    assert (got.frame, got.data.dtype, got.data.shape) == (frame, image.dtype, image.shape)
    assert got.data.tobytes() == image.tobytes()


def test_big_endian_images_are_sent_little_endian() -> None:
    header, pixels = encode(np.array([[1, 2]], ">u2"), 3)
    assert bytes(pixels) == b"\1\0\2\0"
    assert b'"type":"uint16"' in bytes(header)


def test_older_senders_with_more_keys_are_read() -> None:
    header = (
        b'{"frame": 5, "pulse_id": 77, "is_good_frame": 1, "daq_rec": 0, "detector_name": "JF01",'
        b' "htype": "array-1.0", "type": "uint16", "shape": [2, 2]}'
    )
    assert decode([header, bytes(8)]).data.shape == (2, 2)


@pytest.mark.parametrize("image", [np.zeros(3, np.uint16), np.zeros((2, 2), bool), np.zeros((1, 1), object)])
def test_what_has_no_form_is_refused(image: np.ndarray) -> None:
    with pytest.raises(WireError, match="is no array"):
        encode(image, 1)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"{}"],
        [b"\xff", b""],
        [b'{"htype":"array-1.0", "shape":[2,2], "type":"uint16", "frame":1}', bytes(7)],
        [b'{"htype":"array-1.0", "shape":[2], "type":"uint16", "frame":1}', bytes(4)],
        [b'{"htype":"array-1.0", "shape":[2,2], "type":"object", "frame":1}', bytes(32)],
        [b'{"htype":"array-2.0", "shape":[2,2], "type":"uint16", "frame":1}', bytes(8)],
        [b'{"htype":"array-1.0", "shape":[-2,-2], "type":"uint16", "frame":1}', bytes(8)],
    ],
)
def test_malformed_messages_are_refused(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts)


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_garbage_is_a_wire_error(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts)
