"""The doctor on the machine at hand: what it reads is there, and what is wrong is found."""

import fcntl
import socket
from ipaddress import IPv4Address

import pytest
from tests.ports import free_ports

from forebay.config import Config, parse
from forebay.service import host
from forebay.service.doctor import diagnose

pytestmark = pytest.mark.system


def config_for(directory, port=None) -> Config:
    port = port or free_ports(1)
    return parse(
        {
            "detectors": {"jf": {"type": "jungfrau", "start_udp_port": port, "receive_buffer_bytes": 65536}},
            "record": {"directory": str(directory)},
            "runtime_dir": str(directory / "run"),
        },
        "test",
    )


def by_name(config):
    return {finding.name: finding for finding in diagnose(config)}


@pytest.fixture
def taken_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_every_name_is_there_once(tmp_path):
    names = [finding.name for finding in diagnose(config_for(tmp_path))]
    assert len(names) == len(set(names))
    assert {"versions", "receive buffer", "jf: packet size", "jf: UDP ports", "disk rate"} <= set(names)


def test_without_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {finding.name for finding in diagnose()}
    assert {"versions", "filter 32008", "memory for the rings", "record directory"} <= names
    assert list(tmp_path.iterdir()) == []


def test_loopback_takes_jumbo_packets(tmp_path):
    assert by_name(config_for(tmp_path))["jf: packet size"].state == "ok"


def test_filter_works_here(tmp_path):
    assert by_name(config_for(tmp_path))["filter 32008"].state in ("ok", "warning")


def test_port_in_use_is_found(tmp_path, taken_port):
    finding = by_name(config_for(tmp_path, taken_port))["jf: UDP ports"]
    assert finding.state == "problem"
    assert str(taken_port) in finding.found
    assert "ss -ulpn" in finding.mend


@pytest.fixture
def served_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_tcp_port():
    return free_ports(1, socket.SOCK_STREAM)


def ends_of(tmp_path, sections):
    rest = {"record": {"directory": str(tmp_path)}, "runtime_dir": str(tmp_path / "run")}
    return by_name(parse(sections | rest, "test"))


def test_ports_of_a_camera_are_looked_at(tmp_path, taken_port, served_port):
    publishers = [{"address": "127.0.0.1", "port": port} for port in (free_tcp_port(), served_port)]
    remote = {"address": "127.0.0.1", "port": served_port, "mode": "remote"}
    found = ends_of(
        tmp_path, {"cameras": {"chec": {"port": taken_port, "publishers": [*publishers[:1], remote]}}}
    )
    assert (found["chec: UDP ports"].state, found["chec: TCP ports"].state) == ("problem", "ok")
    assert found["chec: packet size"].state == "ok"
    found = ends_of(tmp_path, {"cameras": {"chec": {"publishers": publishers, "address": "203.0.113.1"}}})
    assert found["chec: packet size"].state == "problem"
    assert found["chec: TCP ports"].state == "problem"
    assert f"127.0.0.1:{served_port}" in found["chec: TCP ports"].found
    assert f":{served_port}'" in found["chec: TCP ports"].mend


def test_the_buffer_of_a_camera_counts(tmp_path):
    found = ends_of(tmp_path, {"cameras": {"chec": {"receive_buffer_bytes": 2**30}}})
    assert "1 GiB asked for" in found["receive buffer"].found


def test_ports_of_streams_and_boards_are_looked_at(tmp_path, served_port):
    free = free_tcp_port()
    streams = {
        "good": {"source": f"tcp://127.0.0.1:{served_port}", "output_port": free},
        "bad": {"source": f"tcp://127.0.0.1:{free}", "output_port": served_port},
    }
    boards = {
        "lar": {
            "members": [{"io_group": 1, "port": served_port}],
            "monitor": {"port": free},
        }
    }
    found = ends_of(tmp_path, {"bsread": streams, "boards": boards, "api": {"port": served_port}})
    states = {name: one.state for name, one in found.items() if "TCP" in name or "senders" in name}
    assert states == {
        "good: TCP ports": "ok",
        "good: senders": "ok",
        "bad: TCP ports": "problem",
        "bad: senders": "warning",
        "lar: TCP ports": "ok",
        "lar: senders": "warning",  # its data port, the next one, does not answer
        "api: TCP ports": "problem",
    }
    assert f"127.0.0.1:{served_port + 1}" in found["lar: senders"].found
    assert found["bad: senders"].mend == f"nc -vz 127.0.0.1 {free}"


def test_open_runtime_directory_is_found(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    assert by_name(config_for(tmp_path))["runtime directory"].state == "ok"
    (tmp_path / "run").chmod(0o755)
    assert by_name(config_for(tmp_path))["runtime directory"].state == "problem"


def test_abandoned_recording_is_found_and_a_running_one_is_not(tmp_path):
    for name in ("dead", "alive"):
        (tmp_path / f"{name}.h5.part").touch()
        (tmp_path / f"{name}.h5.part.journal").touch()
    with (tmp_path / "alive.h5.part.journal").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        finding = by_name(config_for(tmp_path))["unfinished files"]
    assert finding.mend == f"forebay recover {tmp_path / 'dead.h5.part'}"


def test_disk_test_leaves_nothing(tmp_path):
    assert host.write_rate(tmp_path, 2**20) > 0
    assert list(tmp_path.iterdir()) == []


def test_interfaces_have_loopback():
    assert IPv4Address("127.0.0.1") in [one.address for one in host.interfaces()]


def test_clock_can_be_read():
    assert host.clock().largest_error_s >= 0


def test_governors_are_read_from_every_core(tmp_path):
    for i_core, governor in enumerate(["powersave", "performance"]):
        folder = tmp_path / f"devices/system/cpu/cpu{i_core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(governor + "\n")
    assert host.governors(tmp_path) == {"powersave", "performance"}


def test_memory_of_a_control_group(tmp_path):
    (tmp_path / "meminfo").write_text("MemAvailable: 1000 kB\nSwapTotal: 30 kB\nSwapFree: 10 kB\n")
    assert host.memory(tmp_path, tmp_path) == host.Memory(1000 * 1024, 20 * 1024)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert host.memory(tmp_path, tmp_path).available_bytes == 3000


def test_kernel_settings(tmp_path):
    (tmp_path / "sys/net/core").mkdir(parents=True)
    (tmp_path / "sys/net/core/rmem_max").write_text("212992\n")
    assert host.sysctl("net.core.rmem_max", tmp_path) == 212_992
    assert host.sysctl("net.core.nothing", tmp_path) is None
