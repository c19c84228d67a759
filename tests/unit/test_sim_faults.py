"""Faults follow from seed, pulse and module alone, come as often as asked, and the truth adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import ConfigError
from forebay.sim.beats import Beat, Leap
from forebay.sim.faults import PROBABILITIES, Dead, Fate, Faults, plan
from forebay.sim.options import Options
from forebay.sim.truth import Truth
from forebay.wire.jungfrau import jungfrau

pytestmark = pytest.mark.unit

N = 128
small = st.floats(0, 0.12)
any_faults = st.builds(
    Faults,
    seed=st.integers(0, 1000),
    **dict.fromkeys(PROBABILITIES, small),
    late_pulses=st.integers(1, 20),
    window=st.integers(1, 200),
    dead=st.lists(st.builds(Dead, module=st.integers(0, 1), first=st.just(5), last=st.integers(5, 12))).map(
        tuple
    ),
    leaps=st.sampled_from([(), (Leap(10, 1),), (Leap(8, 8000),), (Leap(6, 6),)]),
)


def beat(pulse_id: int, epoch: int = 0) -> Beat:
    return Beat(pulse_id, pulse_id, epoch, 1)


def same(a, b) -> bool:
    arrays = all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ("fate", "place", "again"))
    return arrays and (a.n_foreign, a.n_garbage, a.salt) == (b.n_foreign, b.n_garbage, b.salt)


@given(any_faults, st.integers(0, 2**53 - 1), st.integers(0, 1))
def test_plan_is_a_function_of_seed_pulse_and_module(faults, pulse_id, module):
    assert same(plan(faults, beat(pulse_id), module, N), plan(faults, beat(pulse_id), module, N))


def test_other_seed_pulse_module_or_epoch_is_another_plan():
    faults = Faults(loss=0.3)
    first = plan(faults, beat(7), 0, N)
    others = [
        plan(Faults(loss=0.3, seed=1), beat(7), 0, N),
        plan(faults, beat(8), 0, N),
        plan(faults, beat(7), 1, N),
        plan(faults, beat(7, 1), 0, N),
    ]
    assert not any(np.array_equal(first.fate, other.fate) for other in others)


@given(any_faults, st.integers(0, 10_000), st.integers(0, 1))
def test_only_sent_packets_are_reordered_or_doubled_and_never_further_than_the_window(faults, pulse, module):
    made = plan(faults, beat(pulse), module, N)
    moved = made.place - np.arange(N)
    assert ((moved == 0) | (made.fate == Fate.SENT)).all()
    assert (moved >= 0).all()
    assert (moved <= faults.window + 0.5).all()
    doubled = made.again >= 0
    assert (made.fate[doubled] == Fate.SENT).all()
    assert (made.again[doubled] > made.place[doubled]).all()


@pytest.mark.parametrize("key", PROBABILITIES)
def test_faults_come_as_often_as_asked(key):
    chance, n_frames = 0.1, 400
    faults = Faults(**{key: chance})
    found = dict.fromkeys(plan(faults, beat(0), 0, N).counts(), 0)
    for pulse_id in range(n_frames):
        for kind, n in plan(faults, beat(pulse_id), 0, N).counts().items():
            found[kind] += n
    kind = {"loss": "lost", "lost_frame": "lost", "reorder": "reordered"}.get(key, key)
    n_drawn, weight = (n_frames, N) if key == "lost_frame" else (n_frames * N, 1)
    spread = 5 * weight * np.sqrt(n_drawn * chance * (1 - chance))
    assert abs(found[kind] - chance * n_drawn * weight) < spread
    others = {k: n for k, n in found.items() if n and k not in ("sent", kind)}
    assert not others


@given(any_faults, st.integers(1, 25))
@settings(max_examples=25, deadline=None)
def test_truth_adds_up(faults, count):
    truth = Truth(Options(layout=jungfrau(), n_modules=2, count=count, faults=faults))
    totals = truth.totals()
    missing = truth.missing()
    fates = sum(totals[fate.name.lower()] for fate in Fate)
    assert fates == count * 2 * N
    assert missing.sum() == fates - totals["sent"]
    assert missing.shape == (count, 2)
    for i, b in enumerate(truth.beats):
        assert [truth.expected_missing(b.pulse_id, m, b.epoch) for m in (0, 1)] == list(missing[i])
    hurt = truth.hurt_pulses()
    assert hurt == [b.pulse_id for b, row in zip(truth.beats, missing, strict=True) if row.any()]
    by_module = [truth.totals(m) for m in (0, 1)]
    assert {k: by_module[0][k] + by_module[1][k] for k in totals} == totals
    damage = fates - totals["sent"] - totals["lost"] - totals["dead"] - totals["late"]
    assert totals["malformed"] == damage + totals["garbage"]
    extra = sum(totals[k] for k in ("late", "duplicate", "foreign"))
    assert totals["received"] == totals["sent"] + extra + totals["malformed"]


def test_dead_module_sends_nothing_between_both_ends():
    faults = Faults.parse(["dead=1:3..5", "garbage=0.5,foreign=0.5"])
    truth = Truth(Options(layout=jungfrau(), n_modules=2, count=7, faults=faults))
    assert [truth.expected_missing(p, 1) for p in range(1, 8)] == [0, 0, N, N, N, 0, 0]
    assert not any(truth.expected_missing(p, 0) for p in range(1, 8))
    assert plan(faults, beat(4), 1, N).counts()["garbage"] == 0


def test_packets_held_back_past_the_end_are_lost():
    options = Options(layout=jungfrau(), count=10, faults=Faults(late=0.5, late_pulses=4))
    truth = Truth(options)
    assert all(truth.plan(p, 0).counts()["late"] for p in range(1, 7))
    assert not any(truth.plan(p, 0).counts()["late"] for p in range(7, 11))
    assert all(truth.plan(p, 0).counts()["lost"] for p in range(7, 11))


def test_truth_of_an_unsent_pulse_is_an_error():
    truth = Truth(Options(layout=jungfrau(), count=3))
    with pytest.raises(ConfigError, match="Pulse 4 of epoch 0"):
        truth.expected_missing(4, 0)
    with pytest.raises(ConfigError, match="count"):
        Truth(Options(layout=jungfrau()))


def test_parse_reads_every_key():
    text = "loss=0.01, duplicate=1e-3 late=.5 late_pulses=7 window=3 seed=9 restart=500:1,dead=0:1..2"
    faults = Faults.parse([text, "jump=20:4000", "foreign_address=127.0.0.9"])
    assert faults == Faults(
        loss=0.01,
        duplicate=0.001,
        late=0.5,
        late_pulses=7,
        window=3,
        seed=9,
        leaps=(Leap(500, 1), Leap(20, 4000)),
        dead=(Dead(0, 1, 2),),
        foreign_address="127.0.0.9",
    )
    assert faults
    assert not Faults.parse([])
    assert not Faults.parse(["restart=5:1"])
    assert Faults.parse(["jump=5:10:0.25"]).leaps == (Leap(5, 10, 0.25),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("los=0.1", "'los'.*loss"),
        ("loss", "loss=''"),
        ("loss=abc", "loss='abc'"),
        ("loss=1.5", "between 0 and 1"),
        ("loss=nan", "between 0 and 1"),
        ("loss=-0.1", "between 0 and 1"),
        ("loss=0.1 loss=0.2", "twice"),
        ("loss=0.6 late=0.6", "add up to 1.2"),
        ("window=0", "at least 1"),
        ("seed=1.5", "seed='1.5'"),
        ("dead=1", "MODULE:FIRST"),
        ("dead=1:9..3", "MODULE:FIRST"),
        ("restart=1:500", "restart goes back"),
        ("jump=500:1", "jump goes forward"),
        ("restart=5", "AT:TO"),
        ("restart=5:1:soon", "AT:TO:SECONDS"),
    ],
)
def test_wrong_fault_is_named(text, said):
    with pytest.raises(ConfigError, match=said):
        Faults.parse([text])
