"""Blocks of boards on their way through the boards service: cut to size, numbered, not a byte changed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.event import Event
from forebay.service.boards import Numbered, pieces
from forebay.wire.pacman_batch import PacmanArrays

pytestmark = pytest.mark.unit

NO_MODULES = np.zeros(0, np.uint32)


def arrays_of(lengths):
    data = bytes(i % 251 for i in range(sum(lengths)))
    return PacmanArrays(data, np.array(lengths, np.uint32), 3, "2b")


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 120))
def test_pieces_are_the_messages_in_order_and_no_longer_than_allowed(lengths, most):
    whole = arrays_of(lengths)
    parts = list(pieces(whole, most))
    assert b"".join(one.data for one in parts) == whole.data
    assert [one for part in parts for one in part.messages()] == list(whole.messages())
    assert all(len(one.data) <= most or len(one.lengths) == 1 for one in parts)
    assert {(one.io_group, one.asic_version) for one in parts} == {(3, "2b")}


def test_blocks_are_numbered_board_by_board_without_a_gap(monkeypatch):
    monkeypatch.setattr("forebay.service.boards.MOST_BYTES", 32)
    numbered = Numbered()
    events = [Event(name, 7, 5, arrays_of([16] * n), NO_MODULES) for name, n in (("a", 5), ("b", 1))]
    found = [(one.source, one.pulse_id) for one in [*numbered.of(events), *numbered.of(events)]]
    assert found == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("a", 3), ("a", 4), ("a", 5), ("b", 1)]
