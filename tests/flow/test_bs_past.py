"""The writer's stream over the buffer's disk, its memory and what comes: every pulse once, in order."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.errors import RingError
from forebay.ring.memory import MemoryRing
from forebay.service.bsread_disk import DiskSink
from forebay.service.bsread_past import READ_EVENTS, Filled, PastAndPresent, open_ring
from forebay.sim.bsread import BsreadOptions, BsreadSimulator
from forebay.wire.bsread import HeaderCache, decode

pytestmark = pytest.mark.flow

SIMULATOR = BsreadSimulator(BsreadOptions(scalars=1))


class Chain:
    """A buffer with a small memory, and the network between it and a reader."""

    def __init__(self, directory, *, n_memory=10, period_s=0.01):
        self.disk = DiskSink(directory, 10**8)
        self.memory = MemoryRing(n_memory, 10**9)
        self.period_ns = int(period_s * 1e9)
        self.cache = HeaderCache()
        self.counters = {"received": 0}
        self.reader = None

    def come(self, *pulses):
        events = [decode(SIMULATOR.parts(p, 10**18 + p * self.period_ns), self.cache) for p in pulses]
        self.disk.write(events)
        self.memory.write(events)

    def connect(self):
        """Begin anew with the memory, as ZeroMQ does whenever it connects again."""
        self.reader = self.memory.reader()
        return self

    def read(self, timeout):
        return self.reader.read(0)

    def close(self):
        self.disk.close()


def drain(source):
    found = []
    while events := source.read(0):
        found += [event.pulse_id for event in events]
    return found


@pytest.fixture
def chain(tmp_path):
    made = Chain(tmp_path / "ring")
    yield made
    made.disk.close()


def test_disk_then_memory_then_live(chain, tmp_path):
    chain.come(*range(1, 101))
    source = PastAndPresent(tmp_path / "ring", chain.connect, 20)
    assert drain(source) == list(range(20, 101))
    chain.come(*range(101, 106))
    assert drain(source) == list(range(101, 106))
    assert source.counters["from_disk"] == 81
    assert source.counters["filled"] == 0
    source.close()


def test_what_the_memory_lost_before_it_was_read_is_filled_in(chain, tmp_path):
    chain.come(*range(1, 21))
    source = PastAndPresent(tmp_path / "ring", chain.connect, 5)
    assert drain(source) == list(range(5, 21))
    chain.come(*range(21, 61))  # four times the memory
    assert drain(source) == list(range(21, 61))
    assert source.counters["filled"] == 30
    source.close()


def test_a_range_to_come(chain, tmp_path):
    source = PastAndPresent(tmp_path / "ring", chain.connect, 50)
    assert drain(source) == []
    chain.come(*range(1, 70))
    assert drain(source) == list(range(50, 70))


def test_a_memory_of_minutes_that_is_sent_again_is_no_restart(tmp_path):
    chain = Chain(tmp_path / "ring", n_memory=1000, period_s=10)
    chain.come(*range(1, 101))
    source = PastAndPresent(tmp_path / "ring", chain.connect, 90)
    assert drain(source) == list(range(90, 101))
    chain.connect()
    chain.come(*range(101, 121))
    assert drain(source) == list(range(101, 121))
    source.close()


def test_late_events_pass(chain, tmp_path):
    chain.come(*range(1, 11))
    source = PastAndPresent(tmp_path / "ring", chain.connect, 1)
    assert drain(source) == list(range(1, 11))
    chain.come(11, 13, 12, 14)
    assert sorted(drain(source)) == [11, 12, 13, 14]


def test_a_counter_that_restarts_ends_it(chain, tmp_path):
    chain.come(*range(100, 121))
    source = PastAndPresent(tmp_path / "ring", chain.connect, 110)
    assert drain(source) == list(range(110, 121))
    chain.period_ns = 10**9
    chain.come(*range(1, 5))
    assert drain(source) == []
    assert source.read(0) is None


def test_no_ring_is_said(tmp_path):
    with pytest.raises(RingError, match="no disk ring"):
        PastAndPresent(tmp_path / "none", lambda: None, 1)


def test_a_disk_that_took_nothing_for_a_while_leaves_the_network(chain, tmp_path):
    chain.come(*range(1, 6))
    chain.disk.write = lambda _events: None
    chain.come(*range(6, 12))
    source = PastAndPresent(tmp_path / "ring", chain.connect, 3)
    assert drain(source) == list(range(3, 12))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_every_pulse_once_in_order_whatever_moves(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("past") / "ring"
    draw = data.draw
    chain = Chain(directory, n_memory=draw(st.integers(1, 20)), period_s=draw(st.sampled_from([0.01, 20.0])))
    step = draw(st.sampled_from([1, 4]))
    p = 100 * step
    wanted = [p + i * step for i in range(draw(st.integers(0, 60)))]
    chain.come(*wanted)
    first = p + draw(st.integers(-10, 70)) * step
    source = PastAndPresent(directory, chain.connect, first)
    found = []
    last = wanted[-1] if wanted else p
    for action in draw(st.lists(st.sampled_from(["come", "jump", "read", "drain", "again"]), max_size=25)):
        if action == "come":
            new = [last + (i + 1) * step for i in range(draw(st.integers(1, 30)))]
        elif action == "jump":  # the source left some out
            new = [last + draw(st.integers(2, 5)) * step]
        elif action == "read":
            found += [event.pulse_id for event in source.read(0) or ()]
            continue
        elif action == "again" and chain.reader is not None:
            chain.connect()
            continue
        else:
            found += drain(source)
            continue
        chain.come(*new)
        wanted += new
        last = new[-1]
    chain.come(last + step)  # what was lost shows when the next one comes
    wanted.append(last + step)
    found += drain(source)
    chain.close()
    assert found == [one for one in wanted if one >= first]


def test_nothing_on_disk_at_all(tmp_path):
    chain = Chain(tmp_path / "ring")
    filled = Filled(chain.connect(), open_ring(tmp_path / "ring"), 3)
    chain.come(5, 6, 9)
    assert [event.pulse_id for event in filled.read(0)] == [5, 6, 9]
    chain.close()


def test_a_read_that_is_full_to_the_last_event_is_no_pause(tmp_path):
    chain = Chain(tmp_path / "ring", n_memory=READ_EVENTS)
    filled = Filled(chain.connect(), open_ring(tmp_path / "ring"), 1)
    chain.come(*range(1, READ_EVENTS + 1))
    assert len(filled.read(0)) == READ_EVENTS
    chain.come(READ_EVENTS + 1)
    assert [event.pulse_id for event in filled.read(0)] == [READ_EVENTS + 1]
    chain.close()
