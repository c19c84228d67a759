"""Messages of psi-bsread and of other producers decode to their values and encode to their bytes."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from forebay.errors import WireError
from forebay.wire import compress
from forebay.wire.bsread import (
    HeaderCache,
    announce,
    decode,
    decode_times,
    decode_values,
    encode,
    lz4,
    message,
)

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "bsread"
RECORDED = [
    "big_endian",
    "data_header_None",
    "data_header_bitshuffle_lz4",
    "declared_channels",
    "image_1280x1024_uint16_bslz4",
    "missing_values",
    "scalars_100_float64",
    "scalars_all_types",
    "scalars_bslz4",
    "shape_ordering",
    "strings",
    "strings_bslz4",
    "waveforms",
    "waveforms_lz4",
]


class Scenario:
    def __init__(self, name):
        with tarfile.open(VECTORS / f"{name}.tar.gz") as archive:
            files = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
        self.expected = json.loads(files["expected.json"])
        self.digests = json.loads(files.get("expected_sha256.json", b"{}"))
        self.arrays = dict(np.load(io.BytesIO(files["expected.npz"]))) if "expected.npz" in files else {}
        self.messages = {}
        for frame in sorted(name for name in files if name.endswith(".raw")):
            self.messages.setdefault(frame[:6], []).append(files[frame])
        self.messages = list(self.messages.values())


@pytest.fixture(params=RECORDED)
def recorded(request):
    return Scenario(request.param)


def test_values_are_those_of_the_reference(recorded):
    cache = HeaderCache()
    assert len(recorded.messages) == len(recorded.expected["messages"])
    for parts, expected in zip(recorded.messages, recorded.expected["messages"], strict=True):
        event = decode(parts, cache)
        assert event.pulse_id == expected["pulse_id"]
        assert event.time_ns == expected["sec"] * 10**9 + expected["ns"]
        assert list(event.arrays.header.positions) == list(expected["channels"])
        for name, entry in expected["channels"].items():
            compare(recorded, event.arrays, name, entry)


def compare(recorded, arrays, name, entry):
    if "npz" not in entry and entry["value"] is None:
        assert name not in arrays
        assert not arrays.is_present(name)
        with pytest.raises(KeyError):
            arrays[name]
        return
    assert arrays.is_present(name)
    assert arrays.timestamp_ns(name) == entry["ts"][0] * 10**9 + entry["ts"][1]
    value = arrays[name]
    assert value.shape == arrays.channel(name).array_shape
    if "npz" not in entry:
        assert value.shape == (1,)
        assert type(value[0]).__name__ in (entry["pytype"], entry["pytype"] + "_", "bool")
        assert value.item() == entry["value"]
        return
    assert value.dtype == np.dtype(entry["dtype"])
    assert [n for n in value.shape if n != 1] == [n for n in entry["shape"] if n != 1]
    if entry["npz"] in recorded.digests:
        assert hashlib.sha256(value.tobytes()).hexdigest() == recorded.digests[entry["npz"]]
    else:
        expected = recorded.arrays[entry["npz"]]
        assert value.tobytes() == expected.astype(value.dtype).tobytes()


def test_values_encode_to_the_recorded_bytes(recorded):
    cache = HeaderCache()
    for parts in recorded.messages:
        event = decode(parts, cache)
        arrays = event.arrays
        values = dict(arrays)
        for name, channel in zip(arrays.header.positions, arrays.header.channels, strict=True):
            if name not in values and arrays.timestamp_frame(name):  # empty, not missing
                values[name] = "" if channel.is_string else np.zeros(channel.array_shape)
        announced = announce(
            json.loads(plain_header(arrays.header))["channels"], compression=arrays.header.compression
        )
        assert announced.frame == parts[1]
        own = {name: arrays.timestamp_ns(name) for name in arrays}
        made = message(announced, event.pulse_id, event.time_ns, values, own)
        for i, (frame, expected) in enumerate(zip(made, parts, strict=True)):
            if i > 1 and i % 2 == 0 and expected and arrays.header.channels[i // 2 - 1].codec == "lz4":
                assert_same_lz4(frame, expected)
            else:
                assert bytes(frame) == expected, i


def assert_same_lz4(frame, expected):
    """Releases of LZ4 find other matches in the same data; size and content must agree."""
    assert frame[:4] == expected[:4]
    assert lz4.decompress(frame).tobytes() == lz4.decompress(expected).tobytes()


def plain_header(header):
    if header.compression is None:
        return header.frame
    return compress.decompress(header.frame, (int.from_bytes(header.frame[:8], "big"),), np.uint8).tobytes()


def test_an_event_off_the_wire_is_sent_as_it_came(recorded):
    cache = HeaderCache()
    for parts in recorded.messages:
        sent = encode(decode([memoryview(p) for p in parts], cache))
        assert [bytes(frame) for frame in sent] == parts


def test_an_image_is_a_chunk_of_filter_32008_as_it_came(tmp_path):
    h5py, hdf5plugin = pytest.importorskip("h5py"), pytest.importorskip("hdf5plugin")
    parts = Scenario("image_1280x1024_uint16_bslz4").messages[0]
    arrays = decode(parts, HeaderCache()).arrays
    with h5py.File(tmp_path / "image.h5", "w") as file:
        shape = arrays.channel("CAM:FPICTURE").array_shape
        data = file.create_dataset(
            "data", (1, *shape), "<u2", chunks=(1, *shape), compression=hdf5plugin.Bitshuffle()
        )
        data.id.write_direct_chunk((0, 0, 0), arrays.frame("CAM:FPICTURE"))
        assert np.array_equal(data[0], arrays["CAM:FPICTURE"])


def test_blocks_of_rows_are_the_single_values(recorded):
    events = [decode(parts, HeaderCache()) for parts in recorded.messages]
    first = events[0].arrays
    alike = [e.arrays for e in events if e.arrays.header == first.header]
    for name, channel in zip(first.header.positions, first.header.channels, strict=True):
        rows = [a for a in alike if a.is_present(name)]
        if not rows:
            continue
        block = decode_values(channel, [a.frame(name) for a in rows])
        assert block.shape == (len(rows), *channel.array_shape)
        assert [row.tolist() for row in block] == [a[name].tolist() for a in rows]
        times = decode_times(channel, [a.timestamp_frame(name) for a in rows])
        assert times.tolist() == [a.timestamp_ns(name) for a in rows]


def only(name):
    (parts,) = Scenario(f"synthetic_{name}").messages
    return decode(parts, HeaderCache(), arrived_ns=77)


@pytest.mark.parametrize("name", ["lz4_java_12byte", "lz4_len_be32"])
def test_lz4_of_other_producers(name):
    assert only(name).arrays["X"].tolist() == list(range(64))


def test_a_tail_of_less_than_eight_elements():
    values = Scenario("synthetic_bslz4_block8192_short_tail").expected["reference_decode_psi_bsread"][0][
        "values"
    ]
    assert only("bslz4_block8192_short_tail").arrays["T"].tolist() == values["T"]


def test_a_header_of_a_name_only_means_one_float64():
    assert only("defaults_only_name").arrays["D"].tolist() == [2.5]


def test_a_camera_without_encoding_is_little_endian():
    image = only("minimal_camera_header").arrays["CAM:FPICTURE"]
    assert image.shape == (12, 16)
    assert np.array_equal(image.ravel(), np.arange(192))


def test_a_message_without_time_takes_the_time_of_its_arrival():
    event = only("no_global_timestamp")
    assert event.time_ns == 77
    assert event.arrays["D"].tolist() == [2.5]


def test_values_that_are_not_sent_are_missing():
    assert list(only("header_only").arrays) == []
    short = only("too_few_frames").arrays
    assert {name: short[name].item() for name in short} == {"A": 1.0}
    assert short.frame("B") == b""


def test_the_empty_last_frame_of_old_java_senders_is_no_harm():
    assert only("trailing_empty_frame").arrays["D"].tolist() == [2.5]


def test_a_message_that_lost_a_frame_in_the_middle_is_refused():
    parts = Scenario("scalars_100_float64").messages[0]
    with pytest.raises(WireError, match="timestamp frame"):
        decode(parts[:7] + parts[8:], HeaderCache())
