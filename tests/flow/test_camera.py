"""The simulated camera to readouts, over real sockets of this process."""

import socket
import time
from contextlib import closing
from ipaddress import ip_address

import numpy as np
import pytest
from tests.one_cpu import one_cpu

from forebay.assemble.datagrams import BlockReceiver
from forebay.assemble.timed import TimedBuilder, TimedRules
from forebay.errors import ConfigError
from forebay.sim.camera import Camera, CameraFaults, CameraOptions
from forebay.wire import ssreadout, target
from forebay.wire.senders import ModuleRule

pytestmark = pytest.mark.flow

T0 = 1_700_000_000_000_000_000
PERIOD = 10**9 // 1000


@pytest.fixture
def receiver():
    one = BlockReceiver(ip_address("127.0.0.1"), 0, ModuleRule(), 8 * 2**20)
    yield one
    one.close()


def run(receiver, n_cycles, **options):
    """Send cycles, take each one from the socket, and return the readouts, the builder and the camera."""
    options = {"rate_hz": 1000, "signal": "pattern", "start_ns": T0} | options
    with closing(Camera(CameraOptions(port=receiver.port, **options))) as camera, one_cpu():
        return take(receiver, camera, n_cycles)


def take(receiver, camera, n_cycles):
    builder = TimedBuilder(TimedRules(window_ns=PERIOD // 2, buffer_ns=4 * 10**9))
    found = []
    for _ in range(n_cycles):
        camera.send()
        while receiver.fill(builder.readouts, 0)[0]:
            found += list(builder.tick(time.monotonic_ns()))
    while receiver.counters["datagrams"] < camera.counts["datagrams"]:  # the kernel may deliver later
        assert receiver.fill(builder.readouts, 1)[0]
        found += list(builder.tick(time.monotonic_ns()))
    found += list(builder.drain())
    return found, builder, camera


def true_readout(readout):
    """Return the readout that the pattern says; every pixel of every module that is there must agree."""
    there = ssreadout.present(readout[None])[0]
    counts = target.counts_of(readout["data"][there]).astype(int)
    counts -= 64 * np.flatnonzero(there)[:, None] + np.arange(64)
    number, rest = np.divmod(np.unique(counts), 3)
    assert len(number) == 1
    assert not rest
    return int(number[0])


def test_every_readout_comes_whole(receiver):
    found, builder, camera = run(receiver, 30, jitter_ns=PERIOD // 6)
    assert [true_readout(one) for one in found] == list(range(300))
    assert builder.counters["used"] == 300 * 32
    assert camera.counts == {"datagrams": 30 * 32}
    assert receiver.counters == {
        "datagrams": 960,
        "used_datagrams": 960,
        "malformed": 0,
        "foreign": 0,
        "kernel_drop": 0,
        "bytes": 960 * 1440,
    }
    assert (receiver.datagrams_of_module == 30).all()
    assert receiver.count_drops() == 0


def test_faults_are_accounted_for(receiver):
    faults = CameraFaults(loss=0.02, duplicate=0.05, late=0.02, short=0.02, empty=0.02, dead=frozenset([7]))
    found, builder, camera = run(receiver, 60, jitter_ns=PERIOD // 6, faults=faults)
    assert [true_readout(one) for one in found] == list(range(600))
    sent = camera.counts
    assert all(sent[kind] for kind in ("lost", "duplicate", "late", "short", "empty", "dead"))
    assert receiver.counters["malformed"] == sent["short"] + sent["empty"]
    assert builder.counters["duplicate"] == 10 * sent["duplicate"]
    assert builder.counters["used"] == 10 * sent["datagrams"]
    assert builder.counters["late"] == builder.counters["implausible"] == 0


@pytest.mark.parametrize("leap_s", [-5.0, 5.0, -7200.0, 7200.0])
def test_a_leap_of_the_clock_loses_nothing(receiver, leap_s):
    found, builder, _ = run(receiver, 40, faults=CameraFaults(leap={20: leap_s}))
    assert [true_readout(one) for one in found] == list(range(400))
    assert builder.counters["used"] == 400 * 32


@pytest.mark.parametrize("packed", [1, 3, 454])
def test_any_number_of_readouts_in_a_datagram(receiver, packed):
    found, _, _ = run(receiver, 3, packed=packed, modules=(3, 4, 31), rate_hz=10)
    assert [true_readout(one) for one in found] == list(range(3 * packed))


def test_strangers_and_odd_lengths_are_counted(receiver):
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind(("127.0.0.77", 0))
    friend = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    friend.bind(("127.0.0.105", 0))
    for out, data in ((stranger, b"x" * 144), (friend, b""), (friend, b"x" * 145), (friend, b"\xff" * 144)):
        out.sendto(data, ("127.0.0.1", receiver.port))
    readouts = TimedBuilder(TimedRules()).readouts
    while receiver.counters["datagrams"] < 4:
        assert receiver.fill(readouts, 1)[0]
    assert receiver.datagrams_of_module.tolist() == [0] * 5 + [1] + [0] * 26
    assert readouts.counters()[0] == 1
    counters = receiver.counters
    assert (counters["foreign"], counters["malformed"], counters["used_datagrams"]) == (1, 2, 1)
    stranger.close()
    friend.close()


def test_ipv6_by_table():
    one = BlockReceiver(ip_address("::1"), 0, ModuleRule(table={"::1": 9}), 2**20)
    out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    out.sendto(b"\1" * 144 + b"\2" * 144, ("::1", one.port))
    readouts = TimedBuilder(TimedRules()).readouts
    assert one.fill(readouts, 1)[0]
    assert one.datagrams_of_module.tolist() == [0] * 9 + [1] + [0] * 22
    assert readouts.counters()[0] == 2
    out.close()
    one.close()


def test_drops_of_the_kernel_are_counted():
    one = BlockReceiver(ip_address("127.0.0.1"), 0, ModuleRule(), 4096)
    camera = Camera(CameraOptions(port=one.port, modules=(1,)))
    for _ in range(400):
        camera.send()
    readouts = TimedBuilder(TimedRules()).readouts
    while one.fill(readouts, 0)[0]:
        pass
    assert one.count_drops() == 400 - one.counters["datagrams"] > 0
    camera.close()
    one.close()


def test_drifting_signals_stay_within_what_a_module_can_send(receiver):
    found, _, _ = run(receiver, 5, signal="drift")
    data = np.array(found)["data"]
    assert 0 <= data.min() < data.max() < 1000
    assert 0 < np.abs(np.diff(data, axis=0)).max() < 8.1


def test_faults_are_read_from_words():
    faults = CameraFaults.parse(["loss=0.1,dead=3", "leap=20:-5 late_cycles=3", "dead=4"])
    assert faults == CameraFaults(loss=0.1, dead=frozenset([3, 4]), leap={20: -5.0}, late_cycles=3)


@pytest.mark.parametrize("text", ["lost=1", "loss=2", "dead=32", "leap=1", "late_cycles=0", "loss=x"])
def test_faults_that_cannot_be(text):
    with pytest.raises(ConfigError):
        CameraFaults.parse([text])


@pytest.mark.parametrize(
    "wrong", [{"rate_hz": -1}, {"packed": 0}, {"modules": (32,)}, {"network": "203.0.113"}]
)
def test_options_that_cannot_be(wrong):
    with pytest.raises(ConfigError):
        Camera(CameraOptions(**wrong))


def test_a_readout_arrived_when_its_datagram_did_not_when_somebody_looked(receiver):
    """The kernel's stamps; of the first datagram of all it has none yet."""
    with closing(Camera(CameraOptions(port=receiver.port, rate_hz=1000, start_ns=T0, packed=1))) as camera:
        builder = TimedBuilder(TimedRules(window_ns=PERIOD // 2, buffer_ns=4 * 10**9))
        camera.send()
        before = time.time_ns()
        camera.send()
        after = time.time_ns()
        while receiver.fill(builder.readouts, 0)[0]:
            pass
        readouts = builder.drain()
    assert before <= readouts["arrived_ns"][1] <= after
