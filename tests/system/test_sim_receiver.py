"""The receiver's account of a faulty detector is the simulator's truth, frame by frame and kind by kind."""

import threading
from ipaddress import IPv4Address

import numpy as np
import pytest
from tests.one_cpu import one_cpu

from forebay.assemble.receiver import Receiver, ReceiveRules
from forebay.ring.shared import RingShape, SharedRing
from forebay.sim.detector import Options, run
from forebay.sim.faults import Faults
from forebay.sim.truth import Truth
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau

pytestmark = [pytest.mark.system, pytest.mark.calm]

LOOPBACK = IPv4Address("127.0.0.1")
FAULTS = (
    "loss=0.01 lost_frame=0.01 short=0.005 long=0.005 empty=0.005 wrong_number=0.005 wrong_pulse=0.005 "
    "late=0.005 duplicate=0.02 reorder=0.1 foreign=0.01 garbage=0.01 dead=1:100..130"
)
FATES = ("placed", "duplicate", "late", "malformed", "foreign", "overrun")


N_MODULES = 2
RATES_HZ = (500, 100, 20)


def received(layout, port, runtime, rate_hz):
    """Send and receive; return the options, what was sent, the frames, and the counters of each module."""
    options = Options(
        layout=layout,
        n_modules=N_MODULES,
        start_udp_port=port,
        sources=(str(LOOPBACK),) * N_MODULES,
        rate_hz=rate_hz,
        count=300,
        pattern="ramp",
        faults=Faults.parse([FAULTS]),
    )
    runtime.chmod(0o700)
    ring = SharedRing.create("sim", layout, RingShape(256, N_MODULES, 1), runtime)
    rules = ReceiveRules(timeout_s=30, idle_s=30, quiet_s=30)
    receiver = Receiver(ring, layout, LOOPBACK, port, [LOOPBACK] * N_MODULES, rules, 64 * 2**20)
    if min(buffered.given for buffered in receiver.buffers) < 2**21:
        receiver.stop()
        ring.close()
        pytest.skip("the kernel gives less than 2 MiB of socket buffer: raise net.core.rmem_max")
    taken, done = [], threading.Event()

    def take() -> None:
        while not done.is_set():
            taken.append(receiver.read(0.05))

    taking = threading.Thread(target=take)
    receiver.start()
    taking.start()
    try:
        sent = run(options)
    finally:
        done.set()
        taking.join(60)
        taken.append(receiver.stop())
        counters = [ring.counters()[f"module {m}"] for m in range(N_MODULES)]
        ring.close()
    return options, sent, np.concatenate(taken), counters


@pytest.mark.parametrize("layout", [jungfrau(), eiger(8)], ids=lambda layout: layout.name)
def test_every_hurt_frame_is_flagged_and_no_other(layout, free_udp_port, tmp_path_factory):
    """At the first of these rates at which the kernel of this machine drops nothing by itself."""
    for rate_hz in RATES_HZ:
        port = free_udp_port(N_MODULES)
        options, sent, frames, counters = received(layout, port, tmp_path_factory.mktemp("r"), rate_hz)
        for counted, n_sent in zip(counters, sent.packets_by_module, strict=True):
            assert counted["received"] + counted["kernel_drop"] == n_sent
            assert counted["received"] == sum(counted[name] for name in FATES)
        if not any(counted["kernel_drop"] for counted in counters):
            check(layout, options, sent, frames, counters)
            return
    pytest.fail(f"this machine loses packets at {rate_hz} pulses a second: forebay doctor says why")


def check(layout, options, sent, frames, counters):
    """The account is the simulator's truth."""
    truth = Truth(options)
    found = {(int(f["pulse_id"]), int(f["module"])): int(f["missing_packets"]) for f in frames}
    expected = {
        (beat.pulse_id, m): int(n)
        for beat, row in zip(truth.beats, truth.missing(), strict=True)
        for m, n in enumerate(row)
        if n < layout.packets_per_frame  # of a lost frame a receiver knows nothing
    }
    assert found == expected
    for module, counted in enumerate(counters):
        totals = truth.totals(module)
        assert counted["received"] == totals["received"] == sent.packets_by_module[module]
        assert counted["placed"] == totals["sent"]
        assert counted["malformed"] == totals["malformed"]
        assert counted["foreign"] == totals["foreign"]
        # A copy that comes when its frame is closed is late.
        assert counted["duplicate"] + counted["late"] == totals["duplicate"] + totals["late"]


def test_detector_that_restarts_after_a_silence_loses_nothing(free_udp_port, tmp_path):
    port = free_udp_port()
    options = Options(
        layout=eiger(8),
        start_udp_port=port,
        rate_hz=500,
        first_pulse=1000,
        count=60,
        faults=Faults.parse(["restart=1030:1:0.5"]),
    )
    tmp_path.chmod(0o700)
    ring = SharedRing.create("sim", options.layout, RingShape(64, 1, 1), tmp_path)
    receiver = Receiver(ring, options.layout, LOOPBACK, port, [], ReceiveRules(quiet_s=0.1), 2**22)
    receiver.start()
    try:
        with one_cpu():
            run(options)
    finally:
        frames = receiver.stop()
        followed = ring.counters()["module 0"]["followed"]
        ring.close()
    assert [int(f["pulse_id"]) for f in frames] == [*range(1000, 1030), *range(1, 31)]
    assert not frames["missing_packets"].any()
    assert followed == 1
