"""Blocks that were refused come back only where the clock of the camera went, and only once."""

import numpy as np
import pytest
from tests.camera import ALL, SECOND, T0, Bench, blocks_of

from forebay.assemble.suspects import Suspect, Suspects

pytestmark = pytest.mark.unit

STEP = 30_000_000


def test_a_block_that_was_late_once_is_not_taken_again_when_the_clock_is_set_anew():
    """Its module went on as the others did: it has nothing to do with what the clock does later."""
    bench = Bench()
    bench.add(ALL[1:], T0, 0)
    bench.tick(4.1)
    bench.add(0, T0, 0)
    assert bench.counters["late"] == 1
    for n in range(1, 40):
        bench.add(ALL, T0 + n * STEP, n, 0.03)
    for n in range(40, 80):
        bench.add(ALL, T0 - 20 * SECOND + n * STEP, n, 0.03)
    bench.drain()
    assert bench.sets == [([0], 31), *(([n], 32) for n in range(1, 80))]
    assert bench.counters["followed"] == 1
    assert bench.counters["late"] == 1


def test_suspects_are_within_reach_at_both_ends_of_it():
    suspects = Suspects(2)
    for time_ns in (T0 - 6, T0 - 5, T0, T0 + 5, T0 + 6):
        suspects.keep(1, Suspect(time_ns, blocks_of(time_ns, np.array([0]), 1), "late"))
    assert [(module, one.time_ns - T0) for module, one in suspects.take(T0, 5)] == [(1, -5), (1, 0), (1, 5)]
    assert suspects.n_modules == 0
