"""Messages of readouts: every generation read, A and B written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire import ssreadout
from forebay.wire.ssreadout import READOUT

pytestmark = pytest.mark.unit


def some(n=3, seed=0):
    random = np.random.default_rng(seed)
    readouts = ssreadout.new(n)
    readouts["number"] = np.arange(1, n + 1)
    readouts["time_ns"] = 10**18 + np.arange(n) * 10**7
    readouts["arrived_ns"] = 10**18 + random.integers(0, 10**9, n)
    readouts["data"] = random.random((n, 32, 64))
    readouts["timestamps"] = random.integers(1, 10**18, (n, 32, 2))
    readouts["data"][1, 5] = np.nan
    readouts["timestamps"][1, 5] = 0
    return readouts


def test_generation_a_comes_back():
    readouts = some()
    messages = ssreadout.encode(readouts)
    assert {m.nbytes for m in messages} == {16912}
    back = ssreadout.decode(messages)
    for name in ("number", "time_ns", "data", "timestamps"):
        np.testing.assert_array_equal(back[name], readouts[name])
    assert messages[0].obj is not None  # a view: nothing was copied
    assert np.shares_memory(np.frombuffer(messages[0], np.uint8), readouts)


def test_generation_b_comes_back():
    readouts = some()
    messages = ssreadout.encode(readouts, "B")
    assert {m.nbytes for m in messages} == {16416}
    back = ssreadout.decode(messages)
    for name in ("number", "time_ns", "data", "arrived_ns"):
        np.testing.assert_array_equal(back[name], readouts[name])
    assert not back["timestamps"].any()


def test_the_old_message_is_read():
    old = np.zeros(1, ssreadout.MESSAGE_OLD)
    old["number"], old["run"], old["time_ns"], old["data"], old["timestamps"] = 7, 8, 9, 1.5, 3
    back = ssreadout.decode([old.tobytes()])
    assert old.itemsize == 16920
    assert (back["number"], back["time_ns"]) == (7, 9)
    assert (back["data"] == 1.5).all()


@settings(deadline=None)
@given(st.binary(max_size=100) | st.sampled_from([16911, 16913, 16416 - 8]).map(bytes))
def test_hostile_bytes_are_refused(data):
    with pytest.raises(WireError, match="16416, 16912, 16920"):
        ssreadout.decode([data])


@pytest.mark.parametrize("size", [16416, 16912, 16920])
def test_any_bytes_of_a_right_size_are_a_readout(size):
    assert len(ssreadout.decode([b"\xff" * size])) == 1


def test_missing_modules_are_known_from_either_generation():
    readouts = some()
    for generation in ("A", "B"):
        there = ssreadout.present(ssreadout.decode(ssreadout.encode(readouts, generation)))
        assert np.argwhere(~there).tolist() == [[1, 5]]


def test_readouts_are_events_and_back():
    readouts = some()
    events = ssreadout.to_events(readouts, "chec")
    assert [event.pulse_id for event in events] == readouts["time_ns"].tolist()
    assert [event.missing_modules for event in events] == [(), (5,), ()]
    assert ssreadout.from_events(events).tobytes() == readouts.tobytes()
    with pytest.raises(WireError, match="no pulse id"):
        ssreadout.to_events(np.full(1, 2**63, READOUT), "chec")
