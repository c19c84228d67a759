"""What a simulated detector puts on the network is what its plan says, datagram by datagram."""

import itertools
import socket
from collections import Counter

import numpy as np
import pytest
from tests.one_cpu import one_cpu

from forebay.errors import ConfigError, WireError
from forebay.sim.detector import Options, run
from forebay.sim.faults import Fate, Faults
from forebay.sim.options import headers
from forebay.sim.pattern import pattern
from forebay.sim.truth import Truth
from forebay.wire.jungfrau import jungfrau, standard_header
from forebay.wire.packet import PacketLayout, join, split

pytestmark = [pytest.mark.system, pytest.mark.calm]

SMALL = PacketLayout(
    name="small",
    header=standard_header("<f8"),
    payload_bytes=512,
    packets_per_frame=16,
    frame_shape=(32, 128),
    pixel=np.dtype("<u2"),
    pulse_id="bunchid",
    packet="packetnum",
    constants={"header_version": 2},
)
ALL = (
    "seed=3 loss=0.03 lost_frame=0.02 short=0.02 long=0.02 empty=0.02 wrong_number=0.02 wrong_pulse=0.02 "
    "late=0.02 late_pulses=9 duplicate=0.05 reorder=0.1 window=20 foreign=0.03 garbage=0.03 "
    "dead=1:40..60 restart=150:1 jump=60:5000"
)


def frames_of(options, beat, module):
    frame = pattern(options.pattern, options.layout, beat.pulse_id, module)
    return join(options.layout, headers(options, beat, module), frame)


@pytest.fixture
def sent_and_received(udp_inlet):
    def both(options, **kwargs):
        with udp_inlet(options.start_udp_port, options.n_modules) as inlet:
            with one_cpu():
                sent = run(options, **kwargs)
            inlet.finish()
            return sent, inlet.received

    return both


def is_good(layout, datagram):
    try:
        split(layout, datagram)
    except WireError:
        return False
    return True


def check_against_plan(options, truth, received):
    for module, datagrams in enumerate(received):
        totals = truth.totals(module)
        assert len(datagrams) == totals["received"]
        foreign = [d for d, source in datagrams if source == options.faults.foreign_address]
        assert len(foreign) == totals["foreign"]
        head = options.layout.header.itemsize
        assert all(d[head:] == b"\xff" * options.layout.payload_bytes for d in foreign)
        own = [d for d, source in datagrams if source != options.faults.foreign_address]
        good = Counter(d for d in own if is_good(options.layout, d))
        assert len(own) - good.total() == totals["malformed"]
        expected = Counter()
        for beat in truth.beats:
            rows = frames_of(options, beat, module)
            plan = truth.plan(beat.pulse_id, module, beat.epoch)
            whole = np.isin(plan.fate, (Fate.SENT, Fate.LATE))
            expected.update(row.tobytes() for row in rows[whole])
            expected.update(row.tobytes() for row in rows[plan.again >= 0])
        assert good == expected


@pytest.mark.parametrize("segment", [True, False])
@pytest.mark.parametrize("faults", ["", ALL])
def test_what_arrives_is_the_plan(free_udp_port, sent_and_received, faults, segment):
    options = Options(
        layout=SMALL,
        n_modules=3,
        start_udp_port=free_udp_port(3),
        rate_hz=2000,
        burst=4,
        count=220,
        pattern="ramp",
        faults=Faults.parse([faults]),
        segment=segment,
        threads=2,
    )
    sent, received = sent_and_received(options)
    truth = Truth(options)
    check_against_plan(options, truth, received)
    totals = truth.totals()
    assert sent.n_pulses == 220
    assert sent.packets == totals["received"] == sum(sent.packets_by_module)
    assert sent.bytes == sum(len(d) for port in received for d, _ in port)
    assert sent.by_fault == {k: n for k, n in totals.items() if n and k not in ("received", "malformed")}


def test_jungfrau_at_full_speed_from_an_address_a_module(free_udp_port, sent_and_received):
    options = Options(
        layout=jungfrau(),
        n_modules=2,
        start_udp_port=free_udp_port(2),
        sources=("127.0.0.101", "127.0.0.102"),
        rate_hz=0,
        first_pulse=1000,
        pulse_step=10,
        count=6,
    )
    sent, received = sent_and_received(options)
    assert sent.packets == 2 * 6 * 128
    for module, datagrams in enumerate(received):
        assert {source for _, source in datagrams} == {options.sources[module]}
        rows = (frames_of(options, beat, module) for beat in Truth(options).beats)
        assert [d for d, _ in datagrams] == [row.tobytes() for frame in rows for row in frame]


def test_stopped_simulator_tells_how_far_it_came(free_udp_port, sent_and_received):
    asked = itertools.count()
    options = Options(
        layout=SMALL, start_udp_port=free_udp_port(), rate_hz=5000, faults=Faults(loss=0.1, late=0.1)
    )
    sent, received = sent_and_received(options, stop=lambda: next(asked) >= 60)
    assert 0 < sent.n_pulses <= 60
    check_against_plan(options, Truth(options, sent.n_pulses), received)


def test_late_packets_come_with_the_frame_so_many_pulses_later(free_udp_port, sent_and_received):
    options = Options(
        layout=SMALL,
        start_udp_port=free_udp_port(),
        rate_hz=2000,
        count=40,
        faults=Faults(late=0.05, late_pulses=7),
    )
    _, (datagrams,) = sent_and_received(options)
    truth = Truth(options)
    keys = [split(SMALL, d)[0] for d, _ in datagrams]
    stream = [(int(h["bunchid"]), int(h["packetnum"])) for h in keys]
    is_late = [truth.plan(p, 0).fate[n] == Fate.LATE for p, n in stream]
    assert any(is_late)
    for i, (pulse_id, _) in enumerate(stream):
        if is_late[i]:
            following = next(p for (p, _), late in zip(stream[i:], is_late[i:], strict=True) if not late)
            assert following == pulse_id + 7


def test_reordered_packets_cross_into_the_next_frame_and_no_further_than_the_window(
    free_udp_port, sent_and_received
):
    options = Options(
        layout=SMALL,
        start_udp_port=free_udp_port(),
        rate_hz=2000,
        count=50,
        faults=Faults(reorder=0.2, window=10),
    )
    _, (datagrams,) = sent_and_received(options)
    keys = [split(SMALL, d)[0] for d, _ in datagrams]
    order = [(int(h["bunchid"]) - 1) * 16 + int(h["packetnum"]) for h in keys]
    assert sorted(order) == list(range(50 * 16))
    moved = [at - number for at, number in enumerate(order)]
    assert 1 < max(moved) <= 10
    assert any(number // 16 < at // 16 for at, number in enumerate(order))


def test_nobody_listening_does_not_stop_the_detector(free_udp_port):
    options = Options(
        layout=SMALL,
        start_udp_port=free_udp_port(),
        rate_hz=0,
        count=20,
        faults=Faults.parse(["empty=0.2 foreign=0.2"]),
    )
    assert run(options).packets == Truth(options).totals()["received"]


def test_progress_is_told_what_was_sent(free_udp_port, sent_and_received):
    told = []
    options = Options(layout=SMALL, start_udp_port=free_udp_port(), rate_hz=40, count=20)
    sent, _ = sent_and_received(options, progress=told.append)
    assert told
    assert [t.packets for t in told] == [t.n_pulses * 16 for t in told]
    assert told[-1].packets <= sent.packets


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("host", "no.such.host.invalid", "no.such.host.invalid"), ("sources", ("192.0.2.1",), "192.0.2.1")],
)
def test_address_that_cannot_be_used_is_named(key, value, said, monkeypatch):
    def fail(*_):
        raise socket.gaierror(-2, "Name or service not known")

    if key == "host":
        monkeypatch.setattr("forebay.sim.link.socket.socket.connect", fail, raising=True)
    with pytest.raises(ConfigError, match=said):
        run(Options(layout=SMALL, count=1, **{key: value}))
