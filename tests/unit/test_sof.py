"""The container .sof: written, read, cut short and damaged."""

from contextlib import suppress
from struct import pack
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire import sof
from forebay.wire.sof import Compressor, Kind

pytestmark = pytest.mark.unit

OBJECTS = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=6), max_size=4)


def container(bunches, compressor=Compressor.NONE):
    data = sof.encode_header(Kind.TRIGGER, compressor, 1_700_000_000, "forebay 1")
    trailer = 0
    ends = [len(data)]
    for number, objects in enumerate(bunches):
        data += sof.encode_bunch(objects, compressor, len(data), trailer, number)
        trailer = len(data) - sof.TRAILER_BYTES
        ends.append(len(data))
    return data, ends


@settings(deadline=None)
@given(OBJECTS, st.sampled_from(Compressor))
def test_what_is_written_is_read(bunches, compressor):
    found = sof.decode(container(bunches, compressor)[0])
    assert found.objects == [one for bunch in bunches for one in bunch]
    assert (found.version, found.kind, found.software) == (1, Kind.TRIGGER, "forebay 1")
    assert (found.created_s, found.n_damaged, found.is_whole) == (1_700_000_000, 0, True)


@settings(deadline=None)
@given(OBJECTS, st.data())
def test_what_was_cut_short_is_read_as_far_as_it_goes(bunches, data):
    whole, ends = container(bunches)
    n = data.draw(st.integers(ends[0], len(whole)))
    n_bunches = sum(end <= n for end in ends) - 1
    found = sof.decode(whole[:n])
    assert found.objects == [one for bunch in bunches[:n_bunches] for one in bunch]
    assert found.is_whole == (n in ends)


@settings(deadline=None)
@given(OBJECTS.filter(bool), st.data(), st.sampled_from(Compressor))
def test_bunches_around_damage_are_read(bunches, data, compressor):
    whole, ends = container(bunches, compressor)
    victim = data.draw(st.integers(0, len(bunches) - 1))
    damaged = bytearray(whole)
    at = ends[victim + 1] - sof.TRAILER_BYTES + data.draw(st.integers(8, 23))  # begin of the bunch, or place
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    found = sof.decode(bytes(damaged))
    others = [one for i, bunch in enumerate(bunches) if i != victim for one in bunch]
    assert found.objects == others
    assert not found.is_whole
    assert found.n_lost_bytes > 0
    assert sof.decode(b"".join(sof.encode(others, Kind.LOG, compressor, 0, ""))).objects == others


@pytest.mark.parametrize("compressor", Compressor)
def test_a_damaged_object_is_left_out(compressor):
    data, ends = container([[b"a" * 50, b"b" * 50], [b"c" * 50]], compressor)
    damaged = bytearray(data)
    damaged[ends[0] + 20] ^= 1
    found = sof.decode(bytes(damaged))
    assert found.objects[-1] == b"c" * 50
    assert found.n_damaged == 3 - len(found.objects) >= 1


def test_version_0_is_read():
    objects = [b"abc", b"", b"defg"]
    data = pack("<QIIII", 3, 0, 0, 0, 0) + b"".join(pack("<II", len(o), crc32(o)) + o for o in objects)
    found = sof.decode(data)
    assert (found.version, found.kind, found.objects, found.is_whole) == (0, 3, objects, True)
    cut = sof.decode(data[:-1])
    assert (cut.objects, cut.is_whole) == (objects[:2], False)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: b"SOF\0" + bytes(4) + b"\1\0\0\0" + b))
def test_hostile_bytes_are_refused_or_read(data):
    with suppress(WireError):
        sof.decode(data)


def test_a_long_name_is_refused():
    with pytest.raises(WireError, match="255"):
        sof.encode_header(Kind.LOG, Compressor.NONE, 0, "x" * 256)
