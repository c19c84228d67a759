"""Blocks of TARGET modules: one by one and many at a time, whatever comes."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forebay.errors import ConfigError, WireError
from forebay.wire import target, trigger
from forebay.wire.senders import ModuleRule, packed

pytestmark = pytest.mark.unit

TIMES = st.integers(0, 2**64 - 1)


def addresses(*texts):
    return np.frombuffer(b"".join(map(packed, texts)), np.uint8).reshape(-1, 16)


@settings(deadline=None)
@given(arrays(np.uint16, (3, 64)), st.lists(TIMES, min_size=6, max_size=6))
def test_what_is_encoded_is_decoded(amplitudes, times):
    time_ns, aux = np.array(times, np.uint64).reshape(2, 3)
    blocks = target.decode(target.encode(time_ns, aux, amplitudes).tobytes())
    assert (target.counts(blocks) == amplitudes).all()
    assert (blocks["time_ns"] == time_ns).all()
    assert (blocks["aux_time_ns"] == aux).all()
    assert (target.counts_of(target.millivolts(blocks)) == amplitudes).all()


def test_a_block_is_what_the_camera_sends():
    block = target.encode(np.uint64(1_700_000_000_000_000_000), np.uint64(7), np.arange(64, dtype="u2"))
    assert block.tobytes()[:16].hex() == "17979cfe362a00008000800180028003"
    assert block.tobytes()[72:84].hex() == "000000000000000780208021"


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_hostile_bytes_are_blocks_or_an_error(data):
    if data and len(data) % 144 == 0:
        assert len(target.decode(data)) == len(data) // 144
    else:
        with pytest.raises(WireError, match="144 bytes"):
            target.decode(data)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 143, 144, 145, 288, 1440, 1584, 5000]), max_size=20))
def test_a_batch_gives_what_each_datagram_gives(sizes):
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (len(sizes), 1440), np.uint8)
    blocks, row = target.split(rows, np.array(sizes, np.uint32))
    expected = [
        (i, block)
        for i, size in enumerate(sizes)
        if 0 < size <= 1440 and size % 144 == 0
        for block in target.decode(rows[i, :size].tobytes())
    ]
    assert row.tolist() == [i for i, _ in expected]
    assert blocks.tobytes() == b"".join(block.tobytes() for _, block in expected)


def test_modules_are_told_by_the_last_byte():
    senders = addresses("192.168.7.101", "192.168.7.131", "10.0.0.205", "127.0.0.1", "127.0.0.132", "::1")
    assert ModuleRule().modules(senders).tolist() == [1, 31, 5, 1, -1, -1]
    assert ModuleRule(relaxed=True).modules(senders).tolist() == [1, 31, 5, 1, 0, -1]


def test_a_table_holds_for_other_networks_and_ipv6():
    rule = ModuleRule(table={"10.1.2.3": 4, "fd00::17": 5})
    assert rule.modules(addresses("10.1.2.3", "fd00::17", "10.1.2.101")).tolist() == [4, 5, -1]


@pytest.mark.parametrize("table", [{"nobody": 1}, {"10.0.0.1": 32}, {"10.0.0.1": 1, "10.0.0.2": 1}])
def test_a_table_that_cannot_be_is_refused(table):
    with pytest.raises(ConfigError):
        ModuleRule(table=table)


def triggers():
    return st.builds(
        lambda kind, n_bytes, seed: make_trigger(kind, n_bytes, seed),
        st.integers(0, 3),
        st.integers(1, 16),
        st.integers(0, 99),
    )


def make_trigger(kind, n_bytes, seed):
    random = np.random.default_rng(seed)
    pattern = random.random((16 if kind < 2 else 8 * n_bytes, 512)) < 0.01
    numbers = {"message_type": 1, "error_flags": 2, "source": 3} if kind > 1 else {"trigger_type": 9}
    return trigger.TriggerPattern(
        kind, 12345 + seed, 1 << seed % 8, pattern.any(axis=0), pattern, seed, 5, 6, **numbers
    )


@settings(deadline=None)
@given(triggers())
def test_trigger_patterns_come_back(one):
    datagram = trigger.encode(one)
    back = trigger.decode(datagram)
    assert (back.pattern == one.pattern).all()
    assert (back.union == one.union).all()
    for name in ("type", "time_ns", "phase", "count", "pps", "clock", "trigger_type", "message_type"):
        assert getattr(back, name) == getattr(one, name)
    assert back.is_busy == (one.type != 0)
    with pytest.raises(WireError):
        trigger.decode(datagram[:-1])


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=1200).map(lambda b: b"\xfe\xca" + b))
def test_hostile_bytes_are_no_trigger_pattern(data):
    with suppress(WireError):
        trigger.decode(data)
