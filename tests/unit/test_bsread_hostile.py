"""Bytes that are no bsread message: nothing but `WireError`, and no more memory than they stand for."""

import json
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.event import Event
from forebay.wire.bsread import (
    COMPRESSIONS,
    TYPES,
    Channel,
    HeaderCache,
    announce,
    decode,
    decode_times,
    decode_values,
    message,
)

pytestmark = pytest.mark.unit

TIME = 1_700_000_000_123_456_789
MAIN = b'{"htype": "bsr_m-1.1", "pulse_id": 1}'


@contextmanager
def little_memory(limit=20_000_000):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def look_at_everything(parts):
    """Decode and touch all that an event offers; anything but WireError and KeyError fails the test."""
    try:
        event = decode(parts, HeaderCache())
    except WireError:
        return None
    assert isinstance(event, Event)
    assert 0 <= event.pulse_id < 2**63
    assert 0 <= event.time_ns < 2**63
    arrays = event.arrays
    assert len(arrays) == len(list(arrays))
    for name in arrays.header.positions:
        for look in (arrays.__getitem__, arrays.timestamp_ns, arrays.is_present):
            try:
                look(name)
            except (WireError, KeyError):
                continue
        for block, frame in ((decode_values, arrays.frame), (decode_times, arrays.timestamp_frame)):
            for n in (0, 2):
                try:
                    rows = block(arrays.channel(name), [frame(name)] * n)
                except WireError:
                    continue
                assert len(rows) == n
    return event


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_random_frames(parts):
    look_at_everything(parts)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner)
)
odd_channels = st.fixed_dictionaries(
    {"name": st.text(max_size=5)},
    optional={
        "type": st.sampled_from([*TYPES, "string", "complex64", "", "object", "Float32"]) | anything,
        "shape": st.lists(st.sampled_from([-1, 0, 1, 2, 8, 2**16, 2**31, 2**48, 2**63]), max_size=40)
        | anything,
        "encoding": st.sampled_from(["little", "big", "LITTLE", "pdp"]) | anything,
        "compression": st.sampled_from([*COMPRESSIONS, "zstd", None]) | anything,
        "modulo": st.integers() | anything,
        "offset": st.integers() | anything,
    },
)
odd_mains = st.fixed_dictionaries(
    {"pulse_id": st.integers() | st.floats() | anything},
    optional={
        "htype": st.sampled_from(["bsr_m-1.0", "bsr_m-1.1", "array-1.0"]) | anything,
        "hash": anything,
        "dh_compression": st.sampled_from([*COMPRESSIONS, "zstd"]) | anything,
        "global_timestamp": st.fixed_dictionaries(
            {}, optional={"sec": st.integers() | anything, "epoch": anything, "ns": st.integers() | anything}
        )
        | anything,
    },
)


def to_json(value):
    return json.dumps(value).encode()


@given(
    odd_mains.map(to_json) | st.just(MAIN),
    st.fixed_dictionaries({"channels": st.lists(odd_channels, max_size=4) | anything}).map(to_json),
    st.lists(st.binary(max_size=40) | st.just(bytes(16)) | st.just(bytes(8)), max_size=9),
)
def test_headers_with_any_values(main, header, frames):
    look_at_everything([main, header, *frames])


plain_channels = st.builds(
    Channel,
    st.sampled_from("ABC"),
    st.sampled_from([*TYPES, "string"]),
    st.lists(st.sampled_from([1, 2, 3, 8, 100, 2**40]), max_size=3).map(tuple),
    st.sampled_from(["little", "big"]),
    st.sampled_from(COMPRESSIONS),
)
sizes = st.integers(0, 2**34) | st.sampled_from([0, 1, 8, 16, 100, 800, 8192])
heads = st.one_of(
    st.builds(
        lambda n, b: n.to_bytes(8, "big") + b.to_bytes(4, "big"), sizes, sizes.filter(lambda n: n < 2**32)
    ),
    st.builds(
        lambda n, order: n.to_bytes(4, order), st.integers(0, 2**32 - 1), st.sampled_from(["little", "big"])
    ),
    st.builds(
        lambda n, order: n.to_bytes(8, order) + n.to_bytes(4, order),
        st.integers(0, 2**31),
        st.sampled_from(["little", "big"]),
    ),
)


@given(
    st.lists(plain_channels, min_size=1, max_size=3).map(lambda channels: announce(channels).frame),
    st.lists(
        st.tuples(
            st.binary(max_size=60) | st.builds(bytes.__add__, heads, st.binary(max_size=60)),
            st.sampled_from([b"", bytes(16), b"\xff" * 16]),
        ),
        max_size=3,
    ),
)
def test_values_of_any_bytes_take_little_memory(header, pairs):
    with little_memory():
        look_at_everything([MAIN, header, *(frame for pair in pairs for frame in pair)])


def valid(compression, of_header):
    channels = [
        Channel("A", "int16", (60,), compression=compression),
        Channel("S", "string", compression=compression),
        Channel("B", "float64", (7, 11), "big", compression),
        Channel("C", "bool", (3,), compression=compression),
    ]
    values = {"A": np.arange(60), "S": "text " * 20, "B": np.ones((11, 7)), "C": [True, False, True]}
    return [bytes(f) for f in message(announce(channels, of_header), 7, TIME, values)]


VALID = [valid(c, h) for c in COMPRESSIONS for h in COMPRESSIONS]


@settings(max_examples=400)
@given(st.sampled_from(VALID), st.data())
def test_messages_with_a_few_bytes_changed(parts, data):
    parts = [bytearray(part) for part in parts]
    for _ in range(data.draw(st.integers(1, 4))):
        part = parts[data.draw(st.integers(0, len(parts) - 1))]
        if part:
            part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    look_at_everything([bytes(part) for part in parts])


@pytest.mark.parametrize("parts", VALID)
def test_messages_cut_at_every_byte(parts):
    whole = look_at_everything(parts)
    assert len(whole.arrays) == 4
    for i, part in enumerate(parts):
        for n in range(len(part)):
            cut = [*parts[:i], part[:n], *parts[i + 1 :]]
            event = look_at_everything(cut)
            if i < 2 or (i % 2 and n):
                assert event is None
            elif i % 2 == 0 and (name := "ASBC"[i // 2 - 1]) != "S":
                with pytest.raises((WireError, KeyError)):
                    event.arrays[name]


@given(st.sampled_from(VALID), st.data())
def test_messages_with_frames_lost_doubled_or_swapped(parts, data):
    order = data.draw(st.lists(st.integers(0, len(parts) - 1), max_size=12))
    look_at_everything([parts[i] for i in order])


@pytest.mark.parametrize(
    "main",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"pulse_id": 1',
        b'{"pulse_id": 1} {"pulse_id": 2}',
        b'{"pulse_id": "1"}',
        b'{"pulse_id": true}',
        b'{"pulse_id": null}',
        b'{"pulse_id": -1}',
        b'{"pulse_id": -1.0}',
        b'{"pulse_id": 1.5}',
        b'{"pulse_id": 1e17}',
        b'{"pulse_id": 1e999}',
        b'{"pulse_id": NaN}',
        b'{"pulse_id": 9223372036854775808}',
        b'{"pulse_id": ' + b"9" * 100_000 + b"}",
        b'{"pulse_id": 1, "htype": "array-1.0"}',
        b'{"pulse_id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"pulse_id": 1, "global_timestamp": 3}',
        b'{"pulse_id": 1, "global_timestamp": {"sec": -1}}',
        b'{"pulse_id": 1, "global_timestamp": {"sec": 9223372036854775807, "ns": 0}}',
        b'{"pulse_id": 1, "global_timestamp": {"sec": 1, "ns": -1}}',
        b'{"pulse_id": 1, "dh_compression": "zip"}',
        b'{"pulse_id": 1, "dh_compression": "lz4"}',
        b'{"pulse_id": 1, "dh_compression": "bitshuffle_lz4"}',
    ],
)
def test_main_headers_that_are_refused(main):
    with little_memory(), pytest.raises(WireError):
        decode([main, announce([Channel("A")]).frame], HeaderCache())


@pytest.mark.parametrize(
    ("main", "pulse_id", "time_ns"),
    [
        (b'{"pulse_id": 100.0}', 100, 5),
        (b'\n{ "pulse_id" : 9223372036854775807, "more": [1, {}] }\n', 2**63 - 1, 5),
        (
            b'{"pulse_id": 0, "htype": "bsr_m-1.0", "global_timestamp": {"epoch": 2, "ns": 7}}',
            0,
            2_000_000_007,
        ),
        (b'{"pulse_id": 0, "global_timestamp": {"sec": 2}}', 0, 2_000_000_000),
        (b'{"pulse_id": 0, "global_timestamp": {}}', 0, 5),
        (b'{"pulse_id": 0, "global_timestamp": null, "dh_compression": null}', 0, 5),
    ],
)
def test_main_headers_that_are_read(main, pulse_id, time_ns):
    event = decode([main, b'{"channels": []}'], HeaderCache(), arrived_ns=5)
    assert (event.pulse_id, event.time_ns) == (pulse_id, time_ns)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b'{"channels": null}',
        b'{"channels": [{}]}',
        b'{"channels": [{"name": ""}]}',
        b'{"channels": [{"name": 1}]}',
        b'{"channels": [{"name": "A", "shape": [-1]}]}',
        b'{"channels": [{"name": "A", "shape": [1.5]}]}',
        b'{"channels": [{"name": "A", "shape": 5}]}',
        b'{"channels": [], "htype": "bsr_m-1.1"}',
        b'{"channels": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_data_headers_that_are_refused(header):
    with little_memory(), pytest.raises(WireError):
        decode([MAIN, header], HeaderCache())


@pytest.mark.parametrize(
    ("channel", "frame"),
    [
        ({"shape": [2**40]}, bytes(8)),
        ({"shape": [2**48] * 32}, bytes(8)),
        ({"shape": [1] * 33}, bytes(8)),
        ({"shape": [0]}, bytes(8)),
        ({"type": "float16"}, bytes(2)),
        ({"encoding": "middle"}, bytes(8)),
        ({"compression": "zstd"}, bytes(8)),
        ({"type": "string"}, b"\xff"),
        ({"shape": [2**28], "compression": "bitshuffle_lz4"}, b"\0\0\0\0\x80\0\0\0\0\0 \0" + bytes(80)),
        ({"type": "string", "compression": "bitshuffle_lz4"}, b"\0\0\0\0\xff\0\0\0\x7e\0\0\0" + bytes(80)),
        ({"type": "string", "compression": "bitshuffle_lz4"}, b"\xff" * 92),
        ({"shape": [2**28], "compression": "lz4"}, b"\0\0\0\x80" + bytes(90)),
        ({"type": "string", "compression": "lz4"}, b"\0\0\0\x70" + bytes(90)),
        ({"type": "string", "compression": "lz4"}, b"\x10\0\0\0"),
        ({"type": "string", "compression": "lz4"}, b"\1"),
        ({"type": "string", "compression": "bitshuffle_lz4"}, b"\1"),
    ],
)
def test_values_that_are_refused_when_asked_for(channel, frame):
    header = json.dumps({"channels": [{"name": "BAD"} | channel, {"name": "GOOD"}]}).encode()
    with little_memory(1_000_000):
        arrays = decode([MAIN, header, frame, b"", bytes(8), b""], HeaderCache()).arrays
        assert arrays.is_present("BAD")
        with pytest.raises(WireError):
            arrays["BAD"]
        assert arrays["GOOD"].tolist() == [0.0]


def test_frames_that_nobody_announced_are_refused():
    parts = message(announce([Channel("A")]), 1, TIME, {"A": 1.0})
    for more in ([b"", b""], [b"x"]):
        with pytest.raises(WireError, match="frames"):
            decode([*parts, *more], HeaderCache())
    with pytest.raises(WireError, match="2 frames"):
        decode(parts[:1], HeaderCache())


def test_a_header_larger_than_any_facility_has_is_refused():
    channels = b",".join([b'{"name": "A"}'] * 1_300_000)
    with pytest.raises(WireError, match="bytes"):
        decode([MAIN, b'{"channels": [' + channels + b"]}"], HeaderCache())


@pytest.mark.parametrize("pair", [(2**62, 0), (-(2**62), 0), (0, 2**62), (-(2**63), -(2**63))])
def test_timestamps_out_of_range_are_refused(pair):
    channel = Channel("A")
    frame = np.array(pair, "<i8").tobytes()
    parts = [*message(announce([channel]), 1, TIME, {"A": 1.0})[:3], frame]
    arrays = decode(parts, HeaderCache()).arrays
    with pytest.raises(WireError, match="range"):
        arrays.timestamp_ns("A")
    with pytest.raises(WireError, match="range"):
        decode_times(channel, [frame])
    with pytest.raises(WireError, match="bytes"):
        decode_times(channel, [b"x"])
