"""Times to pulse ids: the rule of the predecessor, ours, and what is not known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import RangeError
from forebay.pulse import PulseRange
from forebay.wire.pulse_map import REACH, REACH_NS, PulseMap, Span

pytestmark = pytest.mark.unit


def stepped(step, stop):
    ids = np.arange(0, stop, step)
    return PulseMap.of(ids, ids, ids + 1)


TIMES = np.array([1, 4, 7, 8, 10, 11, 33])


def test_the_predecessors_rule():
    pulse_id, is_known = stepped(5, 40).at(TIMES, tie=False)
    assert pulse_id.tolist() == [0, 0, 5, 5, 5, 10, 30]
    assert is_known.all()


def test_a_value_stamped_with_its_pulse_belongs_to_it():
    pulse_id, _ = stepped(5, 40).at(TIMES)
    assert pulse_id.tolist() == [0, 0, 5, 5, 10, 10, 30]


def test_unknown_is_said_not_shown_as_a_number():
    pulses = PulseMap.of([100, 101], [1000, 2000], [1000, 2000])
    _, is_known = pulses.at(np.array([999, 1000, 2000 + REACH_NS, 2001 + REACH_NS]))
    assert is_known.tolist() == [False, True, True, False]
    assert not PulseMap.of([], [], []).at(np.array([1, 2]))[1].any()


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), max_size=50), st.booleans())
def test_a_map_grows_and_agrees_with_a_plain_search(pairs, tie):
    pulses = PulseMap.of([p for p, _ in pairs], [t for _, t in pairs], [t for _, t in pairs])
    assert pulses.n_refused + len(pulses.pulse_id) == len(pairs)
    assert (np.diff(pulses.pulse_id) > 0).all()
    assert (np.diff(pulses.timestamp_ns) > 0).all()
    asked = np.arange(0, 1002, 7)
    pulse_id, is_known = pulses.at(asked, tie=tie)
    for time, got, known in zip(asked, pulse_id, is_known, strict=True):
        older = [
            p
            for p, t in zip(pulses.pulse_id, pulses.timestamp_ns, strict=True)
            if t < time + (1 if tie else 0)
        ]
        assert known == bool(older)
        assert not older or got == older[-1]


def test_a_range_lasts_from_the_pulse_before_to_the_pulse_after():
    pulses = stepped(10, 100)
    assert pulses.span(PulseRange(20, 40)) == Span(20, 40, 21, 41)
    assert pulses.span(PulseRange(21, 39)) == Span(20, 40, 21, 41)


@pytest.mark.parametrize("pulses", [PulseRange(5, 20), PulseRange(20, 95), PulseRange(5000, 6000)])
def test_a_range_beyond_what_is_known_is_an_error(pulses):
    ids = np.arange(10, 100, 10)
    with pytest.raises(RangeError, match=str(pulses)):
        PulseMap.of(ids, ids, ids).span(pulses)


@pytest.mark.parametrize(
    ("pulses", "where"), [(PulseRange(REACH + 2, 3 * REACH), "before"), (PulseRange(1, 2), "after")]
)
def test_a_pulse_too_far_away_is_no_end(pulses, where):
    far = PulseMap.of([1, 3 * REACH], [1, 2], [1, 2])
    with pytest.raises(RangeError, match=where):
        far.span(pulses)
    far.span(PulseRange(REACH + 1, 2 * REACH))
