"""Packet blocks of one board: what goes in comes out, no bytes do harm, none is taken for another."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire.larpix import block, board_block, word
from forebay.wire.pacman_batch import PacmanArrays

pytestmark = pytest.mark.unit


def arrays_of(messages, io_group=3, asic_version="2b"):
    lengths = np.fromiter(map(len, messages), np.uint32, len(messages))
    return PacmanArrays(b"".join(messages), lengths, io_group, asic_version)


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 255), st.sampled_from(sorted(word.FORMATS))
)
def test_messages_come_back(messages, io_group, asic_version):
    made = board_block.encode(arrays_of(messages, io_group, asic_version))
    again = board_block.decode(made)
    assert list(again.messages()) == messages
    assert (again.io_group, again.asic_version) == (io_group, asic_version)
    # The original cuts what is behind the first '/' into pieces of 10: the last one has to be a lone 0.
    behind = made.partition(b"/")[2]
    assert (len(behind) % 10, behind[-1]) == (1, 0)
    with pytest.raises(WireError):
        block.decode(made)


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, 200), st.integers(0, 7), st.booleans())
def test_damaged_blocks_do_no_harm(noise, place, bit, is_cut):
    good = bytearray(board_block.encode(arrays_of([b"D" * 24, b""])))
    if is_cut:
        good = good[: place % len(good)]
    else:
        good[place % len(good)] ^= 1 << bit
    for one in (b"\x01\x00/" + noise, noise, bytes(good)):
        with contextlib.suppress(WireError):
            assert len(board_block.decode(one).data) <= len(one)


def test_a_version_that_nobody_knows():
    with pytest.raises(WireError, match="nobody can read"):
        board_block.decode(board_block.encode(arrays_of([], asic_version="17")))
    with pytest.raises(WireError, match="no packet block of a board"):
        board_block.decode(block.encode(np.zeros(3, block.RECORD)))
