"""Gaps, duplicates and restarts of numbered streams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.sequence import MAX_SENDERS, Sequence

pytestmark = pytest.mark.unit


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200))
def test_every_number_is_accounted_for(steps: list[tuple[int, bool]]) -> None:
    """Senders number what they offer; some of it is lost; the receiver finds out how much."""
    offered = dict.fromkeys(range(4), 0)
    arrived: dict[int, list[int]] = {i: [] for i in range(4)}
    numbers = Sequence()
    for sender, arrives in steps:
        if arrives:
            assert numbers.accept(sender, offered[sender])
            arrived[sender].append(offered[sender])
        offered[sender] += 1
    assert numbers.before == sum(got[0] for got in arrived.values() if got)
    assert numbers.lost == sum(got[-1] + 1 - got[0] - len(got) for got in arrived.values() if got)
    assert numbers.senders == sum(bool(got) for got in arrived.values())
    assert numbers.duplicate == 0


def test_duplicates_are_refused() -> None:
    numbers = Sequence()
    assert [numbers.accept(1, n) for n in (4, 4, 5, 3)] == [True, False, True, False]
    assert (numbers.duplicate, numbers.lost, numbers.before) == (2, 0, 4)


def test_a_restarted_sender_is_no_gap() -> None:
    numbers = Sequence()
    for instance in (11, 22):
        for n in range(5):
            assert numbers.accept(instance, n)
    assert (numbers.lost, numbers.duplicate, numbers.senders) == (0, 0, 2)


def test_memory_of_senders_is_bounded() -> None:
    numbers = Sequence()
    for instance in range(2 * MAX_SENDERS):
        numbers.accept(instance, 0)
        numbers.accept(5 * MAX_SENDERS, instance)  # heard all the time: never forgotten
    assert len(numbers._next) == MAX_SENDERS
    assert (numbers.senders, numbers.lost) == (2 * MAX_SENDERS + 1, 0)
