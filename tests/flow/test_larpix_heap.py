"""Values of variable length read many at once are what HDF5 reads one by one."""

import contextlib
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.store import larpix_heap
from forebay.store.larpix_heap import UnlikeError, read_values

pytestmark = pytest.mark.flow


def values(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, n, dtype=np.uint8) for n in lengths]


def write(path, made, step, **options):
    """Write values `step` at a time, as a read-out does."""
    options = {"chunks": (64,), "compression": "gzip"} | options
    with h5py.File(path, "w", libver="latest", userblock_size=options.pop("userblock", 0)) as file:
        dataset = file.create_dataset("msgs", (0,), h5py.vlen_dtype(np.uint8), maxshape=(None,), **options)
        for first in range(0, len(made), step):
            some = made[first : first + step]
            dataset.resize((first + len(some),))
            array = np.empty(len(some), h5py.vlen_dtype(np.uint8))
            for i, one in enumerate(some):  # h5py would make one array of values that are as long
                array[i] = one
            space = dataset.id.get_space()
            space.select_hyperslab((first,), (len(some),))
            dataset.id.write(h5py.h5s.create_simple((len(some),)), space, array)


def read(path, start=0, end=None):
    with h5py.File(path, "r") as file:
        return read_values(file["msgs"], start, len(file["msgs"]) if end is None else end)


def check(path, made, start=0, end=None):
    data, lengths = read(path, start, end)
    assert data.tobytes() == b"".join(one.tobytes() for one in made[start:end])
    assert lengths.tolist() == [len(one) for one in made[start:end]]


@pytest.mark.parametrize("options", [{}, {"compression": None}, {"userblock": 512}])
@pytest.mark.parametrize(
    "lengths", [[168] * 900, [8, 168, 24] * 300, [0, 3, 168, 11] * 250], ids=["same", "mixed", "odd"]
)
def test_values_are_those_of_hdf5(tmp_path, lengths, options):
    made = values(lengths)
    write(tmp_path / "a.h5", made, 400, **options)
    check(tmp_path / "a.h5", made)
    check(tmp_path / "a.h5", made, 70, 611)
    check(tmp_path / "a.h5", made, 200, 201)
    check(tmp_path / "a.h5", made, 300, 300)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=200),
    st.integers(20, 200),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_any_lengths_in_any_order(tmp_path_factory, lengths, step, start, n):
    made = values(lengths)
    path = tmp_path_factory.mktemp("heap") / "a.h5"
    write(path, made, step)
    start = min(start, len(made))
    end = min(start + n, len(made))
    with contextlib.suppress(UnlikeError):  # too few in each collection
        check(path, made, start, end)


def test_many_small_pieces_are_left_to_hdf5(tmp_path):
    write(tmp_path / "a.h5", values([70_000] * 20), 1)
    with pytest.raises(UnlikeError, match="a few values"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("options", [{"shuffle": True}, {"compression": "lzf"}])
def test_other_filters_are_left_to_hdf5(tmp_path, options):
    write(tmp_path / "a.h5", values([168] * 100), 100, **options)
    with pytest.raises(UnlikeError, match="filters"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("offset", [0, 16, 24])  # signature, index and size of the first object
def test_what_is_not_as_expected_is_left_to_hdf5(tmp_path, offset):
    path = tmp_path / "a.h5"
    write(path, values([168] * 100), 100)
    content = bytearray(path.read_bytes())
    content[content.index(b"GCOL") + offset] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(UnlikeError):
        read(path)


def test_a_file_that_is_cut_off_is_left_to_hdf5(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    write(path, values([168] * 100), 100)
    whole = larpix_heap.os.pread
    monkeypatch.setattr(
        larpix_heap.os, "pread", lambda file, n, at: whole(file, n if n == 16 else n // 2, at)
    )
    with pytest.raises(UnlikeError, match="shorter"):
        read(path)


@pytest.mark.parametrize("size", [16, 2**40, 2**63, 2**64 - 1])
@pytest.mark.parametrize("start", [0, 10])
def test_a_collection_of_another_size_is_left_to_hdf5(tmp_path, start, size):
    path = tmp_path / "a.h5"
    write(path, values([168] * 20), 20)
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 8
    content[at : at + 8] = size.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(UnlikeError, match="collection"):
        read(path, start)


def test_lengths_that_no_file_has_take_no_memory(tmp_path):
    path = tmp_path / "a.h5"
    write(path, values([168] * 64), 64, compression=None)
    content = path.read_bytes()
    collection = (content.index(b"GCOL")).to_bytes(8, "little")
    content = content.replace((168).to_bytes(4, "little") + collection, b"\xff" * 4 + collection)
    path.write_bytes(content)
    with pytest.raises(UnlikeError, match="more bytes"):
        read(path)


def test_a_chunk_that_unpacks_to_too_much_is_left_to_hdf5(tmp_path):
    path = tmp_path / "a.h5"
    write(path, values([168] * 64), 64)
    with h5py.File(path, "r+") as file:
        file["msgs"].id.write_direct_chunk((0,), zlib.compress(bytes(2**20)))
    with pytest.raises(UnlikeError, match="size"):
        read(path)


def test_a_file_that_was_renamed_meanwhile_is_read(tmp_path):
    made = values([168] * 100)
    write(tmp_path / "a.h5", made, 100)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        (tmp_path / "a.h5").rename(tmp_path / "b.h5")
        data, _ = read_values(file["msgs"], 0, 100)
    assert data.tobytes() == b"".join(one.tobytes() for one in made)


def test_a_file_in_memory_is_left_to_hdf5(tmp_path):
    write(tmp_path / "a.h5", values([168] * 100), 100)
    with h5py.File(tmp_path / "a.h5", "r", driver="core") as file, pytest.raises(UnlikeError, match="disk"):
        read_values(file["msgs"], 0, 100)
