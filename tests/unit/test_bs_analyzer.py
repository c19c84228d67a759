"""What is odd in a stream is counted and told; what is usual is not."""

import pytest

from forebay.errors import ConfigError
from forebay.service.analyzer import Analyzer
from forebay.sim.bsread import BsreadOptions, BsreadSimulator, parse_faults
from forebay.wire.bsread import HeaderCache, announce, decode, message

pytestmark = pytest.mark.unit

EPOCH = 10**18


def stream(pulses, **times):
    header = announce([{"name": "A"}])
    cache = HeaderCache()
    at = {p: EPOCH + p * 10**7 for p in pulses} | {int(k[1:]): v for k, v in times.items()}
    return [decode(message(header, p, at[p], {"A": 1.0}), cache) for p in pulses]


def look(events):
    told = []
    analyzer = Analyzer(lambda kind, fields: told.append((kind, fields)), clock=lambda: 0.0)
    for event in events:
        analyzer.write([event])
    analyzer.close()
    return analyzer, told


@pytest.mark.parametrize("step", [1, 2, 10, 100])
def test_a_stream_at_any_rate_is_fine(step):
    analyzer, told = look(stream(range(1000, 1000 + 200 * step, step)))
    assert not told
    assert analyzer.counters["messages"] == 200


def test_gaps_duplicates_and_reversed_ids():
    analyzer, told = look(stream([1, 2, 3, 6, 7, 7, 9, 8, 10]))
    counters = analyzer.counters
    assert (counters["gaps"], counters["missed_pulses"]) == (2, 3)
    assert (counters["duplicates"], counters["reversed"]) == (1, 1)
    assert ("gaps", {"n": 1, "last": 3, "next": 6, "missed": 2}) in told


def test_a_clock_that_jumps_is_told_in_seconds():
    late = {f"p{p}": EPOCH + p * 10**7 + 5 * 10**9 for p in range(50, 100)}
    analyzer, told = look(stream(range(100), **late))
    assert analyzer.counters["clock_jumps"] == 1
    assert told == [("clock_jumps", {"n": 1, "pulse_id": 50, "seconds": 5.0})]


def test_a_counter_that_starts_again_is_one_anomaly():
    analyzer, _ = look(stream([*range(5000, 5100), *range(1, 100)]))
    assert (analyzer.counters["reversed"], analyzer.counters["gaps"]) == (1, 0)


def test_missing_values_by_channel_but_not_those_of_slower_channels():
    header = announce([{"name": "A"}, {"name": "SLOW", "modulo": 10}, {"name": "B", "compression": "lz4"}])
    cache = HeaderCache()
    messages = []
    for p in range(20):
        values = {"A": 1.0, "B": 2.0} if p % 10 else {"SLOW": 3.0, "B": 2.0}
        messages.append(decode(message(header, p, EPOCH + p, values), cache))
    analyzer, told = look(messages)
    assert analyzer.missing == {"A": 2}
    assert told[0][1]["channels"] == "A"


def test_telling_is_limited_and_nothing_is_left_out():
    now = 0.0
    told = []
    analyzer = Analyzer(lambda kind, fields: told.append((kind, fields["n"])), clock=lambda: now)
    for event in stream([1, *(2,) * 100]):
        analyzer.write([event])
    now = 2.0
    analyzer.write(stream([3]))
    assert told == [("duplicates", 1), ("duplicates", 98)]
    assert analyzer.counters["duplicates"] == 99


def sent(**options):
    simulator = BsreadSimulator(BsreadOptions(**options))
    return list(simulator.sendings(EPOCH))


def test_the_simulator_does_what_it_is_told():
    chances, at = parse_faults(["drop=0.1 duplicate=0.1", "reverse=0.1", "reshape=100", "stall=50:2"])
    sendings = sent(count=200, waveforms=1, chances=chances, at=at)
    cache = HeaderCache()
    events = [decode(one.parts, cache) for one in sendings]
    assert cache.changes >= 1
    assert len(events[0].arrays["SIM:W0000"]) == 1000
    assert len(events[-1].arrays["SIM:W0000"]) == 1001
    assert sum(one.pause_s for one in sendings if one.pulse_id == 50) <= 4
    analyzer, _ = look(events)
    assert min(analyzer.counters[kind] for kind in ("gaps", "duplicates", "reversed")) > 5


def test_waveforms_and_camera_change_their_shape_when_they_are_told_to():
    _, at = parse_faults(["reshape=3"])
    cache = HeaderCache()
    events = [decode(one.parts, cache) for one in sent(count=4, camera=(80, 70), at=at)]
    assert cache.changes == 1
    assert [one.arrays["SIM:CAM:FPICTURE"].shape for one in events] == 2 * [(70, 80)] + 2 * [(71, 80)]
    assert [len(one.arrays["WAVE"]) for one in events] == [30, 30, 31, 31]


def test_the_simulator_is_the_same_again_and_without_faults_whole():
    assert [one.parts for one in sent(count=5, camera=(80, 70))] == [
        one.parts for one in sent(count=5, camera=(80, 70))
    ]
    analyzer, told = look([decode(one.parts, HeaderCache()) for one in sent(count=300, scalars=3, strings=1)])
    assert not told
    assert not analyzer.missing


@pytest.mark.parametrize("word", ["drop", "drop=2", "drop=x", "stall=a:1", "nonsense=1", "reshape="])
def test_faults_that_are_none(word):
    with pytest.raises(ConfigError):
        parse_faults([word])
