"""The manifest: pulse sets as ranges, accounts that add up, JSON there and back."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import StoreError
from forebay.store import manifest as m

pytestmark = pytest.mark.unit

id_sets = st.sets(st.integers(0, 200), max_size=80)


@given(id_sets, st.integers(1, 5), st.integers(0, 2**62))
def test_pulse_sets_come_back(ids, step, base):
    members = sorted(base + i for i in ids)
    pulses = m.pulse_set(np.array(members, np.int64), step)
    assert pulses.n == len(members)
    assert m.pulse_ids(pulses).tolist() == members


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 5), id_sets)
def test_missing_is_expected_without_got(first, n, step, got):
    expected = range(first, first + n * step, step)
    missing = m.missing_pulses(expected, np.array(sorted(got), np.uint64))
    right = sorted(set(expected) - got)
    assert missing.n == len(right)
    assert m.pulse_ids(missing).tolist() == right


def test_ranges_are_as_few_as_can_be():
    assert m.pulse_set(np.array([1, 2, 3, 7, 9, 10])).ranges == ["1..3", "7..7", "9..10"]
    assert m.pulse_set(np.array([4, 2, 6, 12]), 2).ranges == ["2..6/2", "12..12"]


def test_a_range_of_all_time_costs_nothing():
    last = 2**63 - 2
    missing = m.missing_pulses(range(last + 1), np.array([5, last]))
    assert missing.ranges == ["0..4", f"6..{last - 1}"]
    assert missing.n == last - 1


def test_lists_are_bounded_and_counts_are_not():
    odd = np.arange(1, 100_001, 2)
    pulses = m.pulse_set(odd)
    assert (pulses.n, len(pulses.ranges), pulses.is_whole) == (50_000, m.MAX_LISTED, False)
    incomplete = [m.IncompletePulse(i, {"0": 1}) for i in range(m.MAX_LISTED + 5)]
    account = m.account(range(0), odd, incomplete, len(incomplete))
    assert (len(account.incomplete), account.n_incomplete) == (m.MAX_LISTED, m.MAX_LISTED + 5)


@pytest.mark.parametrize(
    ("requested", "seen", "expected"),
    [
        (m.Request(pulses="10..20/5"), None, [10, 15, 20]),
        (m.Request(pulses="10..12"), (11, 99), [10, 11, 12]),
        (m.Request(images=3), (7, 9), [7, 8, 9]),
        (m.Request(seconds=1.0, pulse_step=2), (7, 11), [7, 9, 11]),
        (m.Request(), None, []),
    ],
)
def test_expected_pulses(requested, seen, expected):
    first, last = seen or (None, None)
    assert list(m.expected_pulses(requested, first, last)) == expected


@pytest.mark.parametrize(
    ("requested", "text"),
    [
        (m.Request(pulses="1..2"), "pulses 1..2"),
        (m.Request(images=5), "5 images"),
        (m.Request(seconds=2.5), "2.5 s"),
        (m.Request(), "until stopped"),
    ],
)
def test_a_request_reads_well(requested, text):
    assert str(requested) == text


def test_counters_grow():
    start = m.Counters({"50100": {"received": 5}}, {"frames": 1}, {})
    end = m.Counters({"50100": {"received": 9}, "50101": {"received": 2}}, {"frames": 4}, {"written": 3})
    assert end.since(start) == m.Counters(
        {"50100": {"received": 4}, "50101": {"received": 2}}, {"frames": 3}, {"written": 3}
    )


def manifest(**changes):
    counters = m.Counters({"50100": {"received": 9}}, {"frames": 4}, {"written": 3})
    whole = m.Manifest(
        format=m.FORMAT,
        version=m.VERSION,
        software=m.software(),
        requested=m.Request(pulses="1..5"),
        sources={
            "det": m.account(range(1, 6), np.array([1, 2, 5]), [m.IncompletePulse(2, {"0": 7})], 1, [3])
        },
        counters=m.CounterChange(m.Counters(), counters, counters),
        start_time=m.now(),
        end_time=m.now(),
        compression="none",
        checksum="xxh3_64",
        closed_by="recorder",
        reason="last pulse",
        configuration={"detectors": {"det": {"n_modules": 2}}},
    )
    return msgspec.structs.replace(whole, **changes)


def test_json_comes_back():
    one = manifest()
    assert m.from_json(one.to_json()) == one


def test_another_version_is_refused():
    with pytest.raises(StoreError, match="forebay-images 99"):
        m.from_json(manifest(version=99).to_json())


@settings(max_examples=100)
@given(st.binary(max_size=100))
def test_garbage_is_refused(garbage):
    with pytest.raises(StoreError):
        m.from_json(garbage)
