"""The simulated trigger board sends patterns that its reader takes."""

import pytest

from forebay.errors import ConfigError
from forebay.sim.triggers import TriggerOptions, pattern
from forebay.wire.trigger import decode, encode

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", range(4))
def test_patterns_are_what_they_say(kind):
    options = TriggerOptions(types=(kind,), n_samples=64)
    for number in range(5):
        one = pattern(options, number, 1_700_000_000_123_456_789)
        found = decode(encode(one))
        assert (found.type, found.count, found.time_ns) == (kind, number + 1, one.time_ns)
        assert (found.pps, found.clock) == (1_700_000_000, 123_456_789)
        assert (found.pattern == one.pattern).all()
        assert (found.union == one.pattern.any(axis=0)).all()
        assert found.union.any()


def test_types_come_in_turn():
    options = TriggerOptions(types=(0, 3, 2))
    assert [pattern(options, i, 0).type for i in range(4)] == [0, 3, 2, 0]


@pytest.mark.parametrize("wrong", [{"rate_hz": -1}, {"types": (4,)}, {"types": ()}, {"n_samples": 12}])
def test_what_cannot_be_sent_is_refused(wrong):
    with pytest.raises(ConfigError):
        TriggerOptions(**wrong)
