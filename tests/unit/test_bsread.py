"""bsread messages: what is announced, sent, missing, changed and kept."""

import json
import re
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forebay.errors import WireError
from forebay.event import Event
from forebay.wire.bsread import (
    COMPRESSIONS,
    TYPES,
    BsreadArrays,
    Channel,
    HeaderCache,
    announce,
    decode,
    decode_times,
    decode_values,
    describe,
    encode,
    message,
)

pytestmark = pytest.mark.unit

TIME = 1_700_000_000_123_456_789

numbers = st.sampled_from([dtype.newbyteorder(order) for dtype in TYPES.values() for order in "<>"])
arrays = hnp.arrays(numbers, hnp.array_shapes(min_dims=0, max_dims=4, max_side=30))
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    texts.filter(lambda text: not text.endswith("\0")),
    arrays,
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    st.dictionaries(names, values, max_size=6),
    st.sampled_from([None, *COMPRESSIONS]),
    st.sampled_from([None, *COMPRESSIONS]),
    st.integers(0, 2**63 - 1),
    st.integers(0, 9 * 10**18),
)
def test_what_is_sent_arrives(sent, compression, of_header, pulse_id, time_ns):
    header = announce([describe(k, v, compression) for k, v in sent.items()], of_header)
    event = decode(message(header, pulse_id, time_ns, sent), HeaderCache(), source="s")
    assert (event.source, event.pulse_id, event.time_ns) == ("s", pulse_id, time_ns)
    assert event.is_complete
    assert event.arrays.header == header
    assert list(event.arrays) == [k for k, v in sent.items() if v is not None]
    assert len(event.arrays) == len(list(event.arrays))
    for name, array in event.arrays.items():
        given_array = np.asarray(sent[name])
        if not isinstance(sent[name], np.ndarray):
            given_array = given_array.reshape(1)
        assert np.array_equal(array, given_array, equal_nan=given_array.dtype.kind == "f")
        assert array.shape == given_array.shape
        assert array.dtype.kind == given_array.dtype.kind
        assert not array.flags.writeable
        assert event.arrays.timestamp_ns(name) == time_ns


@given(arrays, st.sampled_from(COMPRESSIONS))
def test_a_block_of_rows_is_its_rows(first, compression):
    rows = [first, np.flip(first), np.zeros_like(first)]
    channel = describe("A", first, compression)
    header = announce([channel])
    decoded = [
        decode(message(header, 1, TIME + i, {"A": row}), HeaderCache()).arrays for i, row in enumerate(rows)
    ]
    block = decode_values(channel, [a.frame("A") for a in decoded])
    assert np.array_equal(block, np.stack(rows), equal_nan=first.dtype.kind == "f")
    times = decode_times(channel, [a.timestamp_frame("A") for a in decoded])
    assert times.tolist() == [TIME, TIME + 1, TIME + 2]


def test_a_block_of_nothing_has_no_rows():
    for channel in (
        Channel("A", shape=(4, 3)),
        Channel("A", "bool", compression="lz4"),
        Channel("A", "string"),
    ):
        assert decode_values(channel, []).shape == (0, *channel.array_shape)
        assert decode_times(channel, []).shape == (0,)


def test_a_block_with_one_wrong_length_is_refused_even_if_the_sum_is_right():
    with pytest.raises(WireError, match="bytes are not float64"):
        decode_values(Channel("A"), [bytes(4), bytes(12)])


def test_strings_of_a_block_are_text_of_any_length():
    block = decode_values(Channel("A", "string"), [b"a", "Zürich".encode(), b""])
    assert block.tolist() == [["a"], ["Zürich"], [""]]


def test_shapes_are_reversed_and_nothing_is_left_out():
    for shape in ((), (1,), (1, 5), (5, 1), (1, 1, 1), (2, 3, 4)):
        value = np.zeros(shape, np.int16)
        channel = describe("A", value)
        assert channel.shape == shape[::-1]
        assert (
            decode(message(announce([channel]), 1, 0, {"A": value}), HeaderCache()).arrays["A"].shape == shape
        )


def test_a_value_and_its_time_are_in_the_byte_order_of_the_channel():
    header = announce([Channel("B", "int16", encoding="big"), Channel("L", "int16")])
    parts = message(header, 1, TIME, {"B": 258, "L": 258})
    assert parts[2:] == [
        b"\1\2",
        bytes.fromhex("000000006553f10000000000075bcd15"),
        b"\2\1",
        bytes.fromhex("00f153650000000015cd5b0700000000"),
    ]


def test_headers_are_written_to_the_letter():
    header = announce([Channel("A", "int8", (2, 3), compression="none"), {"modulo": 3, "name": "é"}])
    assert header.frame == (
        b'{"htype": "bsr_d-1.1", "channels": [{"name": "A", "type": "int8", "shape": [2, 3], '
        b'"encoding": "little", "compression": "none"}, {"modulo": 3, "name": "\\u00e9"}]}'
    )
    assert header.main(5, TIME) == (
        b'{"htype": "bsr_m-1.1", "hash": "' + md5(header.frame).hexdigest().encode() + b'", "pulse_id": 5, '
        b'"global_timestamp": {"sec": 1700000000, "ns": 123456789}}'
    )
    assert header.channels[1] == Channel("é", modulo=3)
    assert json.loads(announce([], "lz4").main(5, TIME))["dh_compression"] == "lz4"


def test_modulo_and_offset_are_written_when_they_say_something():
    header = announce([Channel("A", modulo=10, offset=3)])
    assert header.frame.endswith(b'"encoding": "little", "modulo": 10, "offset": 3}]}')


def test_missing_values_are_two_empty_frames():
    header = announce([Channel("A"), Channel("B", "string"), Channel("C", compression="lz4")])
    parts = message(header, 1, TIME, {"B": None})
    assert parts[2:] == [b""] * 6
    event = decode(parts, HeaderCache())
    assert list(event.arrays) == []
    assert "A" not in event.arrays
    assert 3 not in event.arrays
    assert event.arrays.timestamp_ns("A") == TIME
    for look in (event.arrays.__getitem__, event.arrays.channel, event.arrays.frame, event.arrays.is_present):
        with pytest.raises(KeyError):
            look("X")


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_empty_strings_and_arrays_are_missing_but_keep_their_time(compression):
    sent = {"S": "", "A": np.zeros((0, 3), np.int32)}
    header = announce([describe(k, v, compression) for k, v in sent.items()])
    parts = message(header, 1, 0, sent, {"S": TIME, "A": TIME})
    received = decode(parts, HeaderCache()).arrays
    for name in sent:
        assert name not in received
        assert received.timestamp_ns(name) == TIME


def test_every_channel_may_have_its_own_time():
    header = announce([Channel("A"), Channel("B", encoding="big")])
    parts = message(header, 1, TIME, {"A": 1.0, "B": 2.0}, {"B": 5})
    received = decode(parts, HeaderCache())
    assert [received.arrays.timestamp_ns(name) for name in "AB"] == [TIME, 5]
    assert received.time_ns == TIME


def test_a_value_without_timestamp_has_the_time_of_the_pulse():
    parts = message(announce([Channel("A")]), 1, TIME, {"A": 1.0})
    for short in ([*parts[:3], b""], parts[:3]):
        assert decode(short, HeaderCache()).arrays.timestamp_ns("A") == TIME
        assert decode(short, HeaderCache()).arrays["A"] == [1.0]


def test_of_a_name_announced_twice_the_last_counts():
    parts = message(announce([Channel("A"), Channel("A", "int8")]), 1, TIME, {})
    parts[2:] = [b"12345678", bytes(16), b"\7", bytes(16)]
    received = decode(parts, HeaderCache()).arrays
    assert {name: received[name].item() for name in received} == {"A": 7}


def test_any_nonzero_byte_is_true():
    parts = message(announce([Channel("A", "bool", (3,))]), 1, TIME, {"A": [0, 1, 1]})
    parts[2] = b"\0\1\xff"
    assert decode(parts, HeaderCache()).arrays["A"].tolist() == [False, True, True]


def test_terminating_nul_characters_are_not_text():
    parts = message(announce([Channel("A", "STRING", shape=(40,))]), 1, TIME, {"A": "a\0b"})
    parts[2] = b"a\0b\0\0"
    assert decode(parts, HeaderCache()).arrays["A"].tolist() == ["a\0b"]


def test_numbers_are_not_copied_and_types_are_read_in_any_case():
    frame = bytearray(8)
    parts = message(announce([Channel("A", "Float64")]), 1, TIME, {"A": 1.0})
    parts[2] = memoryview(frame)
    array = decode(parts, HeaderCache()).arrays["A"]
    frame[:] = np.float64(2.5).tobytes()
    assert array.tolist() == [2.5]


def test_large_arrays_are_borrowed_and_small_ones_copied():
    large, small = np.zeros(100_000, np.uint8), np.zeros(10, np.uint8)
    header = announce([describe("L", large), describe("S", small)])
    parts = message(header, 1, TIME, {"L": large, "S": small})
    large[0] = small[0] = 1
    assert (parts[2][0], parts[4][0]) == (1, 0)


@pytest.mark.parametrize(
    ("channel", "value"),
    [
        (Channel("A", "int8"), 128),
        (Channel("A", "uint16"), -1),
        (Channel("A", "int32"), np.int64(2**40)),
        (Channel("A", "int32"), 1.5),
        (Channel("A", "int32"), float("nan")),
        (Channel("A", "uint64"), -1),
        (Channel("A", "bool"), 2),
        (Channel("A", "int32"), "1"),
        (Channel("A", "float64"), 1j),
        (Channel("A", "float64", (2,)), [1.0]),
        (Channel("A", "float64", (2, 3)), np.zeros((3, 3))),
        (Channel("A", "float64", (2,)), 1.0),
        (Channel("A", "float64"), [[1], [2, 3]]),
        (Channel("A", "string"), 1),
        (Channel("A", "string"), "\ud800"),
        (Channel("A", "text"), "x"),
        (Channel("A", encoding="middle"), 1.0),
        (Channel("A", compression="zip"), 1.0),
        (Channel("B"), 1.0),
    ],
)
def test_a_value_that_is_not_what_was_announced_is_refused(channel, value):
    with pytest.raises(WireError):
        message(announce([channel]), 1, TIME, {"A": value})


@pytest.mark.parametrize(
    "value", [b"x", 1j, np.float16(1), np.array(["a", "b"]), [None], 2**64, [[1], [1, 2]]]
)
def test_a_value_of_no_bsread_type_is_refused(value):
    with pytest.raises(WireError, match="'A'"):
        describe("A", value)


def test_numbers_outside_a_message_are_refused():
    header = announce([Channel("A")])
    for pulse_id, time_ns in ((-1, 0), (2**63, 0), (0, -1), (0, 2**63)):
        with pytest.raises(WireError):
            message(header, pulse_id, time_ns, {})
    with pytest.raises(WireError):
        announce([{"type": "int8"}])
    with pytest.raises(WireError):
        announce([{"name": object()}])
    with pytest.raises(WireError, match="zip"):
        announce([], "zip")


def test_an_unchanged_header_is_not_parsed_again():
    one, two = announce([Channel("A")]), announce([Channel("A", "int8")])
    cache = HeaderCache()
    order = [one, one, two, two, one, two]
    seen = [decode(message(h, i, TIME, {}), cache).arrays.header for i, h in enumerate(order)]
    assert cache.changes == 3
    assert len({id(h) for h in seen}) == 2
    assert seen == order


def test_a_cache_keeps_a_few_headers_only():
    cache = HeaderCache(size=2)
    headers = [announce([Channel(f"A{i}")]) for i in range(3)]
    first = cache.get(headers[0].frame, None)
    for header in headers[1:]:
        cache.get(header.frame, None)
    again = cache.get(headers[0].frame, None)
    assert again == first
    assert again is not first


def test_a_wrong_hash_does_not_bring_back_an_old_header():
    cache = HeaderCache()
    old = message(announce([Channel("A")]), 1, TIME, {"A": 1.0})
    new = message(announce([Channel("A", "int8")]), 2, TIME, {"A": 7})
    decode(old, cache)
    assert decode([old[0], *new[1:]], cache).arrays["A"].tolist() == [7]


def test_events_of_other_origin_are_announced_by_their_arrays():
    content = {"image": np.arange(6, dtype="<u2").reshape(2, 3), "text": np.array(["hello"])}
    event = Event("x", 9, TIME, content, np.zeros(0, np.uint32))
    parts = encode(event, "bitshuffle_lz4")
    back = decode(parts, HeaderCache())
    assert back.pulse_id == 9
    assert back.arrays.channel("image").shape == (3, 2)
    assert back.arrays["image"].tolist() == content["image"].tolist()
    assert back.arrays["text"].tolist() == ["hello"]
    assert encode(back) == parts
    assert isinstance(back.arrays, BsreadArrays)
    assert back.arrays.nbytes == sum(map(len, parts))


def test_the_example_of_the_reference_runs():
    page = Path(__file__).parents[2] / "docs" / "reference" / "bsread.md"
    (example,) = re.findall("```python\n(.*?)```", page.read_text(), re.DOTALL)
    names = {}
    exec(example, names)
    assert names["image"].shape == (1024, 1280)
    assert names["charge"] == 12.5
