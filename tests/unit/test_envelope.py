"""Events as bytes between forebay's processes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from forebay.errors import WireError
from forebay.event import Event, Reference
from forebay.wire import envelope
from forebay.wire.dtype import from_text, to_text
from forebay.wire.envelope import decode, encode
from forebay.wire.jungfrau import jungfrau

pytestmark = pytest.mark.unit

WORD = st.integers(0, 2**64 - 1)
SIGNED = st.integers(0, 2**63 - 1)
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
PLAIN = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(),
    npst.unsigned_integer_dtypes(),
    npst.floating_dtypes(sizes=(16, 32, 64)),
    npst.complex_number_dtypes(sizes=(64, 128)),
    npst.byte_string_dtypes(min_len=1, max_len=20),
    npst.unicode_string_dtypes(min_len=1, max_len=20),
)
RECORD = st.lists(PLAIN, min_size=1, max_size=4).map(
    lambda kinds: np.dtype([(f"field_{i}", kind) for i, kind in enumerate(kinds)])
)
ARRAY = st.builds(
    lambda dtype, shape, seed: (
        np.frombuffer(
            np.random.default_rng(seed).bytes(int(np.prod(shape, dtype=int)) * dtype.itemsize), np.uint8
        )
        .view(dtype)
        .reshape(shape)
        if np.prod(shape, dtype=int)
        else np.zeros(shape, dtype)
    ),
    st.one_of(PLAIN, RECORD),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    st.integers(0, 1000),
)
MISSING = npst.arrays(np.uint32, st.integers(0, 40))
EVENT = st.builds(
    Event, NAME, SIGNED, SIGNED, st.dictionaries(NAME, ARRAY, max_size=4), MISSING, st.integers(0, 2**32 - 1)
)


def one(**changes: Any) -> Event:
    values: dict[str, Any] = {
        "source": "jf",
        "pulse_id": 17,
        "time_ns": 5,
        "arrays": {
            "data": np.arange(12, dtype="<u2").reshape(3, 4),
            "header": np.zeros(2, jungfrau().header),
        },
        "missing_packets": np.array([0, 3], np.uint32),
        "packets_per_module": 128,
        "reference": None,
    }
    return Event(**(values | changes))


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


@given(EVENT, WORD, WORD, st.booleans())
def test_round_trip(event: Event, sequence: int, instance: int, compressed: bool) -> None:
    message = encode(event, sequence=sequence, instance=instance, pixels=True, compressed=compressed)
    got = decode([bytes(part) for part in message])
    assert (got.sequence, got.instance) == (sequence, instance)
    for name in ("source", "pulse_id", "time_ns", "packets_per_module", "reference"):
        assert getattr(got.event, name) == getattr(event, name)
    assert same(got.event.missing_packets, event.missing_packets)
    assert list(got.event.arrays) == list(event.arrays)
    for name, array in event.arrays.items():
        assert same(got.event.arrays[name], array)
        assert not got.event.arrays[name].flags.writeable
        assert got.event.arrays[name].flags.aligned


def test_large_images_travel_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "PART_BYTES", 7)
    message = encode(one(), sequence=0, instance=0, pixels=True)
    assert [len(part) for part in message[1:]] == [7, 7, 7, 3] + [7] * 13 + [5]
    assert same(decode(message).event.arrays["data"], one().arrays["data"])
    with pytest.raises(WireError, match="its parts"):
        decode([message[0], *message[1:4][::-1], message[4], *message[5:-1], message[-1][:4]])
    with pytest.raises(WireError, match="announces"):
        decode([*message, b""])


def test_pixels_are_lent_not_copied() -> None:
    event = one()
    message = encode(event, sequence=0, instance=0, pixels=True)
    assert np.shares_memory(np.frombuffer(message[1], np.uint8), event.arrays["data"])
    assert np.shares_memory(np.frombuffer(message[1], np.uint8), decode(message).event.arrays["data"])


def test_a_reference_goes_without_touching_the_arrays() -> None:
    class Untouchable(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise AssertionError("pixels were fetched")

        def __iter__(self) -> Any:
            raise AssertionError("pixels were fetched")

    reference = Reference("jf", 2**64 - 1, 12)
    event = one(arrays=Untouchable(data=0), reference=reference)
    message = encode(event, sequence=1, instance=2, pixels=False)
    assert len(message) == 1
    assert decode(message).event.reference == reference
    assert len(decode(message).event.arrays) == 0


def test_pixels_go_without_the_reference() -> None:
    message = encode(one(reference=Reference("jf", 1, 1)), sequence=1, instance=2, pixels=True)
    assert decode(message).event.reference is None


def test_compressed_images_are_smaller_and_the_same() -> None:
    image = np.zeros((512, 1024), np.uint16)
    image[3] = 7
    message = encode(one(arrays={"data": image}), sequence=0, instance=0, pixels=True, compressed=True)
    assert sum(len(part) for part in message) < image.nbytes / 10
    assert decode(message).event.arrays.nbytes == len(message[1])  # type: ignore[attr-defined]
    assert same(decode(message).event.arrays["data"], image)
    damaged = decode([message[0], bytes(len(message[1]))])
    with pytest.raises(WireError):
        damaged.event.arrays["data"]


def test_header_is_plain_json() -> None:
    message = encode(one(reference=Reference("jf", 9, 8)), sequence=1, instance=2, pixels=False)
    assert json.loads(bytes(message[0])) == {
        "format": "forebay-event/1",
        "sequence": 1,
        "instance": 2,
        "source": "jf",
        "pulse_id": 17,
        "time_ns": 5,
        "missing_packets": [0, 3],
        "packets_per_module": 128,
        "reference": {"ring": "jf", "generation": 9, "number": 8},
        "arrays": [],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"arrays": {"a": np.array([object()])}},
        {"arrays": {"a": np.zeros(1, np.dtype({"names": ["x"], "formats": ["<u2"], "itemsize": 4}))}},
        {"arrays": {"a": np.zeros(1, [("x", "<u2", (2,))])}},
        {"arrays": {"a": np.zeros(1, [("x", [("y", "<u2")])])}},
        {"arrays": {"a": np.zeros(1, "<M8[ns]")}},
        {"arrays": {f"a{i}": np.zeros(1) for i in range(257)}},
        {"arrays": {"": np.zeros(1)}},
        {"arrays": {"\ud800": np.zeros(1)}},
        {"pulse_id": -1},
        {"pulse_id": 2**63},
        {"time_ns": -1},
        {"source": ""},
        {"missing_packets": np.zeros(5000, np.uint32)},
    ],
)
def test_what_cannot_be_read_is_not_sent(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError, match=r"sent|type|fields|read"):
        encode(one(**changes), sequence=0, instance=0, pixels=True)


HEADER: dict[str, Any] = json.loads(bytes(encode(one(), sequence=1, instance=2, pixels=True)[0]))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "forebay-event/2"},
        {"sequence": 2**64},
        {"sequence": -1},
        {"pulse_id": 1.5},
        {"reference": {"ring": "a", "generation": 2**64, "number": 0}},
        {"arrays": [HEADER["arrays"][0]] * 2},
        {"arrays": [HEADER["arrays"][0] | {"type": "|O"}]},
        {"arrays": [HEADER["arrays"][0] | {"type": "<u2,<u2"}]},
        {"arrays": [HEADER["arrays"][0] | {"type": [["a", "<u2"], ["a", "<u2"]]}]},
        {"arrays": [HEADER["arrays"][0] | {"shape": [3, 5]}]},
        {"arrays": [HEADER["arrays"][0] | {"shape": [0, 2**31, 2**31], "n_bytes": 0}]},
        {"arrays": [HEADER["arrays"][0] | {"shape": [2**20, 2**20], "encoding": "bitshuffle-lz4"}]},
        {"arrays": [HEADER["arrays"][0] | {"encoding": "pickle"}]},
        {"arrays": []},
    ],
)
def test_hostile_headers_are_refused(changes: dict[str, Any]) -> None:
    _, *parts = encode(one(), sequence=1, instance=2, pixels=True)
    arrays = (HEADER | changes)["arrays"]
    n_parts = sum(array["n_bytes"] > 0 for array in arrays) if arrays else 1
    with pytest.raises(WireError):
        decode([json.dumps(HEADER | changes).encode(), *parts[:n_parts]])


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_garbage_is_a_wire_error(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts)


@settings(max_examples=500)
@given(st.booleans(), st.data())
def test_damaged_messages_are_read_whole_or_refused(compressed: bool, data: st.DataObject) -> None:
    parts = [bytearray(p) for p in encode(one(), sequence=0, instance=0, pixels=True, compressed=compressed)]
    for _ in range(data.draw(st.integers(1, 4))):
        part = data.draw(st.sampled_from(parts))
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    try:
        event = decode([bytes(part) for part in parts]).event
        arrays = {name: event.arrays[name] for name in event.arrays}
    except WireError:
        return
    for array in arrays.values():
        assert array.nbytes == array.size * array.itemsize
        assert not array.dtype.hasobject


@given(st.one_of(PLAIN, RECORD))
def test_types_round_trip(dtype: np.dtype[Any]) -> None:
    text = to_text(dtype)
    assert from_text(text) == dtype
    assert from_text(json.loads(json.dumps(text)) if isinstance(text, str) else text) == dtype


@given(
    st.one_of(st.text(max_size=12), st.sampled_from(["O", "|O", "<u3", "V8", "<M8[ns]", "u2", "<f16", "|S0"]))
)
def test_other_types_are_refused(text: str) -> None:
    try:
        dtype = from_text(text)
    except WireError:
        return
    assert dtype.str == text
    assert not dtype.hasobject
