"""Each judgement of the doctor, on facts that no test machine needs to have."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from forebay.errors import ConfigError
from forebay.service import findings as judge
from forebay.service.host import Clock, Interface

pytestmark = pytest.mark.unit

MIB = 2**20
LOOPBACK = Interface("lo", IPv4Address("127.0.0.1"), 65536)
NARROW = Interface("eth0", IPv4Address("10.0.0.5"), 1500)
JUMBO = Interface("eth1", IPv4Address("10.0.1.5"), 9000)


@pytest.mark.parametrize(
    ("given", "state"), [(64 * MIB, "ok"), (128 * MIB, "ok"), (4 * MIB, "warning"), (212_992, "problem")]
)
def test_receive_buffer(given, state):
    finding = judge.receive_buffer(64 * MIB, given, frame_bytes=MIB)
    assert finding.state == state
    assert (finding.mend == "sudo sysctl -w net.core.rmem_max=67108864") == (state != "ok")


@pytest.mark.parametrize(("length", "state"), [(None, "ok"), (1000, "ok"), (999, "warning")])
def test_backlog(length, state):
    assert judge.backlog(length, packets_per_pulse=1000).state == state


def test_backlog_asks_for_more_than_one_pulse():
    assert judge.backlog(1000, 4096).mend.endswith("=16384")


@pytest.mark.parametrize(
    ("address", "state"),
    [
        ("127.0.0.1", "ok"),
        ("10.0.1.5", "ok"),
        ("10.0.0.5", "problem"),
        ("10.9.9.9", "problem"),
        ("0.0.0.0", "warning"),
    ],
)
def test_packet_size(address, state):
    finding = judge.packet_size("jf", address, 8240, [LOOPBACK, NARROW, JUMBO])
    assert finding.state == state


def test_packet_that_just_fits():
    assert judge.packet_size("jf", "10.0.0.5", 1472, [NARROW]).state == "ok"
    assert judge.packet_size("jf", "10.0.0.5", 1473, [NARROW]).state == "problem"


@pytest.mark.parametrize(
    ("facts", "state"),
    [(Clock(True, 0.001), "ok"), (Clock(True, 5.0), "warning"), (Clock(False, 0.001), "warning")],
)
def test_clock(facts, state):
    assert judge.clock(facts).state == state


def test_disk_rate_counts_images():
    assert "1000 images/s" in judge.disk_rate(2e9, 2_000_000).found
    assert judge.disk_rate(2e9, 0).state == "ok"
    assert judge.disk_rate(50e6, 0).state == "warning"


@pytest.mark.parametrize(("free", "state"), [(10**11, "ok"), (2 * 10**9, "warning"), (10**8, "problem")])
def test_free_space(free, state):
    assert judge.free_space(free, refused_below=10**9).state == state


@pytest.mark.parametrize(
    ("exists", "allowed", "state"), [(True, True, "ok"), (False, True, "ok"), (True, False, "problem")]
)
def test_record_directory(exists, allowed, state):
    assert judge.writable(Path("/data"), exists, allowed).state == state


@pytest.mark.parametrize(
    ("owner", "mode", "state"),
    [(None, 0, "ok"), (1000, 0o700, "ok"), (1000, 0o750, "problem"), (0, 0o700, "problem")],
)
def test_runtime_directory(owner, mode, state):
    assert judge.runtime_directory(Path("/run/forebay"), owner, mode, uid=1000).state == state


@pytest.mark.parametrize(
    ("n_cores", "load", "state"), [(8, 1.0, "ok"), (4, 1.0, "warning"), (8, 9.0, "warning")]
)
def test_cores(n_cores, load, state):
    assert judge.cores(n_cores, load, n_ports=4).state == state


@pytest.mark.parametrize(("needed", "state"), [(0, "ok"), (70, "ok"), (80, "warning"), (95, "problem")])
def test_ring_memory(needed, state):
    assert judge.ring_memory(needed, 100).state == state


def test_swap():
    assert judge.swap(0).state == "ok"
    assert judge.swap(10**9).state == "warning"


@pytest.mark.parametrize(
    ("governors", "state"),
    [(set(), "ok"), ({"performance"}, "ok"), ({"powersave", "performance"}, "warning")],
)
def test_governor(governors, state):
    assert judge.governor(governors).state == state


def test_ports_say_what_the_receiver_would():
    error = ConfigError("UDP port 50100 is taken.", "ss -ulpn")
    finding = judge.ports("jf", 2, [error])
    assert finding.state == "problem"
    assert "1 of 2" in finding.found
    assert "50100" in finding.found
    assert finding.mend == "ss -ulpn"
    assert judge.ports("jf", 2, []).state == "ok"


def test_kernel():
    assert judge.coalescing(True, "6.1").state == "ok"
    assert judge.coalescing(False, "4.19").state == "warning"


@pytest.mark.parametrize(
    ("error", "plugin_path", "has_bitshuffle", "state"),
    [
        ("", "", False, "ok"),
        ("no library", "", False, "problem"),
        ("", "/opt/hdf5/plugins", False, "warning"),
        ("", "", True, "warning"),
    ],
)
def test_image_filter(error, plugin_path, has_bitshuffle, state):
    assert judge.image_filter(error, plugin_path, has_bitshuffle).state == state


def test_abandoned_recordings_are_named():
    assert judge.abandoned([]).state == "ok"
    assert (
        judge.abandoned([Path("a.h5.part"), Path("b.h5.part")]).mend == "forebay recover a.h5.part b.h5.part"
    )


def test_whatever_is_wrong_has_a_reason_and_a_remedy():
    wrong = [
        judge.receive_buffer(2, 1, 0),
        judge.backlog(1, 2),
        judge.packet_size("jf", "10.9.9.9", 1, []),
        judge.clock(Clock(False, 1.0)),
        judge.disk_rate(1, 0),
        judge.free_space(0, 1),
        judge.writable(Path("/x"), False, False),
        judge.runtime_directory(Path("/x"), 0, 0o777, 1),
        judge.cores(1, 0, 1),
        judge.ring_memory(1, 0),
        judge.swap(10**9),
        judge.governor({"powersave"}),
        judge.coalescing(False, "4"),
        judge.image_filter("x", "", False),
        judge.abandoned([Path("x.part")]),
    ]
    assert all(one.state != "ok" and one.found and one.why and one.mend for one in wrong)
