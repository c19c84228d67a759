"""Bitshuffle-LZ4: what we write, HDF5 reads, and the other way round; hostile chunks are refused."""

import struct
from contextlib import suppress

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire import compress as c

pytestmark = pytest.mark.unit

DTYPES = ["u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f4", "<f8", ">u2", ">f8"]

arrays = st.tuples(
    st.sampled_from(DTYPES),
    st.integers(1, 300),
    st.integers(1, 70),
    st.integers(0, 2**32),
    st.integers(1, 255),
)


def array_of(spec):
    dtype, rows, columns, seed, top = spec
    numbers = np.random.default_rng(seed).integers(0, top, (rows, columns))
    return numbers.astype(dtype) if np.dtype(dtype).itemsize > 1 else (numbers % 128).astype(dtype)


def in_memory():
    return h5py.File("memory", "w", driver="core", backing_store=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays, st.sampled_from([8, 64, 1024, 8192, c.BLOCK_ELEMENTS]))
def test_hdf5_reads_our_chunks(spec, block):
    array = array_of(spec)
    with in_memory() as file:
        data = file.create_dataset(
            "x",
            shape=array.shape,
            dtype=array.dtype,
            chunks=array.shape,
            **hdf5plugin.Bitshuffle(block, "lz4"),
        )
        data.id.write_direct_chunk((0, 0), c.compress(array, block))
        np.testing.assert_array_equal(data[...], array)


@settings(max_examples=60, deadline=None)
@given(arrays, st.sampled_from([0, 8, 64, 1024, 8192]))
def test_we_read_hdf5s_chunks(spec, block):
    array = array_of(spec)
    with in_memory() as file:
        data = file.create_dataset("x", data=array, chunks=array.shape, **hdf5plugin.Bitshuffle(block, "lz4"))
        mask, chunk = data.id.read_direct_chunk((0, 0))
    assert mask == 0
    back = c.decompress(chunk, array.shape, array.dtype)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_same_bytes_as_the_filter():
    array = np.arange(100_003, dtype="<u2").reshape(1, -1)
    with in_memory() as file:
        data = file.create_dataset(
            "x", data=array, chunks=array.shape, **hdf5plugin.Bitshuffle(c.BLOCK_ELEMENTS, "lz4")
        )
        theirs = data.id.read_direct_chunk((0, 0))[1]
    assert c.compress(array).tobytes() == theirs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 4099])
def test_every_size_comes_back(dtype, n):
    array = np.arange(n).astype(dtype)
    np.testing.assert_array_equal(c.decompress(c.compress(array), (n,), dtype), array)


def test_an_array_with_gaps_is_copied():
    array = np.arange(4096, dtype="u2").reshape(64, 64)[::2, ::3]
    np.testing.assert_array_equal(c.decompress(c.compress(array), array.shape, "u2"), array)


def test_a_buffer_is_used_again():
    out = np.empty(c.bound(4096, 2), np.uint8)
    for k in range(3):
        array = np.full(4096, k, "u2")
        n = c.compress_into(array, out)
        np.testing.assert_array_equal(c.decompress(out[:n], (4096,), "u2"), array)
        np.testing.assert_array_equal(c.decompress(bytearray(out[:n]), (4096,), "u2"), array)


@pytest.mark.parametrize(
    ("array", "block"),
    [
        (np.zeros(8, "c16"), 64),
        (np.zeros(8, "U1"), 7),
        (np.zeros(8, object), 64),
        (np.zeros(8, "u2"), 0),
        (np.zeros(8, "u2"), 12),
        (np.zeros(8, "u2"), -8),
        (np.zeros(8, "u2"), 2**31),
        (np.broadcast_to(np.zeros(1, "u8"), (2**30,)), 64),
    ],
)
def test_what_cannot_be_compressed_is_refused(array, block):
    with pytest.raises(WireError):
        c.compress(array, block)


def test_a_small_buffer_is_refused():
    with pytest.raises(WireError, match="writeable buffer"):
        c.compress_into(np.zeros(4096, "u2"), np.empty(100, np.uint8))


CHUNK = c.compress(np.random.default_rng(1).integers(0, 50, 5003).astype("u2"), 1024).tobytes()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_hostile_bytes_are_refused_or_decoded(data):
    chunk = bytearray(CHUNK)
    for _ in range(data.draw(st.integers(1, 8))):
        chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(chunk)))
    for attempt in (chunk, chunk[:cut], chunk + chunk[:cut]):
        with suppress(WireError):  # refused is as good
            assert c.decompress(attempt, (5003,), "u2").shape == (5003,)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**40), st.sampled_from(["u1", "u2", "u4", "u8"]))
def test_garbage_is_refused_or_decoded(garbage, n, dtype):
    with pytest.raises(WireError):
        c.decompress(garbage, (n + 300_000,), dtype)


@pytest.mark.parametrize(
    "chunk",
    [
        b"",
        b"\0" * 11,
        struct.pack(">QI", 2**40, 65536) + b"\0" * 50,  # promises a terabyte
        struct.pack(">QI", 16000, 0) + b"\0" * 50,
        struct.pack(">QI", 16000, 17) + b"\0" * 50,
        struct.pack(">QI", 16000, 16) + b"\0" * 50,  # a thousand blocks in 50 bytes
        struct.pack(">QI", 16000, 0xFFFFFFFE) + b"\0" * 50,
        struct.pack(">QII", 16000, 16384, 0xFFFFFFFF) + b"\0" * 50,  # a block of 4 GB
        struct.pack(">QII", 16000, 16384, 10) + b"\0" * 10,  # 10 bytes for 16 kB
        struct.pack(">QII", 16000, 16384, 200) + b"\xff" * 200,
        CHUNK[:-1],
        CHUNK + b"\0",
    ],
)
def test_lies_are_refused(chunk):
    with pytest.raises(WireError):
        c.decompress(chunk, (8000,), "u2")


@pytest.mark.parametrize(("shape", "dtype"), [((-1,), "u2"), ((4,), "O"), ((4,), "c16"), ((2**33,), "u2")])
def test_impossible_arrays_are_refused(shape, dtype):
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with pytest.raises(WireError):
        c.decompress(struct.pack(">QI", max(n, 0), 8192) + b"\0" * 100, shape, dtype)
