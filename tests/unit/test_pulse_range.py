"""Pulse ranges: both ends included, members are multiples of the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import RangeError
from forebay.pulse import MAX_PULSE_ID, PulseRange

pytestmark = pytest.mark.unit

small = st.integers(0, 300)
steps = st.integers(1, 40)


def members(first, last, step):
    return [p for p in range(first, last + 1) if p % step == 0]


@given(small, small, steps)
def test_range_has_the_multiples_between_its_ends(first, last, step):
    wanted = members(first, last, step)
    if not wanted:
        with pytest.raises(RangeError):
            PulseRange(first, last, step)
        return
    pulses = PulseRange(first, last, step)
    assert list(pulses) == wanted
    assert len(pulses) == len(wanted)
    assert (pulses.first, pulses.last) == (wanted[0], wanted[-1])
    assert all((p in pulses) == (p in wanted) for p in range(last + step + 1))


@given(small, small, steps)
def test_text_is_read_back(first, length, step):
    first *= step
    pulses = PulseRange(first, first + length, step)
    assert PulseRange.parse(str(pulses)) == pulses


@given(small, small, steps, small, small)
def test_overlap(first, length, step, other_first, other_length):
    pulses = PulseRange(first * step, first * step + length, step)
    other = PulseRange(other_first, other_first + other_length)
    wanted = [p for p in pulses if p in other]
    overlap = pulses.overlap(other)
    assert (list(overlap) if overlap else []) == wanted


@pytest.mark.parametrize(
    "text", ["", "5", "5..", "..5", "5...9", "-1..5", "1..5/0", "9..5", "1..2/10", "1..2/-1", "a..b"]
)
def test_what_is_not_a_range(text):
    with pytest.raises(RangeError) as error:
        PulseRange.parse(text)
    assert text in str(error.value)


def test_ends_are_included():
    assert list(PulseRange.parse("7..9")) == [7, 8, 9]
    assert list(PulseRange.parse("100..100")) == [100]


def test_largest_pulse_id():
    assert MAX_PULSE_ID in PulseRange(MAX_PULSE_ID, MAX_PULSE_ID)
    with pytest.raises(RangeError):
        PulseRange(0, MAX_PULSE_ID + 1)
