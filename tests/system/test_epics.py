"""Process variables of a real IOC, over both protocols, through the service into the buffer and out."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.system.stand import wait_until

from forebay.errors import ForebayError
from forebay.pulse import PulseRange
from forebay.ring.pv_reader import PvReader, retrieve_pvs

pytest.importorskip("softioc", reason="softioc cannot be installed here")
pytest.importorskip("aioca", reason="aioca cannot be installed here")
pytest.importorskip("p4p", reason="p4p cannot be installed here")
pytestmark = pytest.mark.system

IOC = Path(__file__).with_name("ioc.py")
PREFIX = "FOREBAY:TEST"


def free_ports(n_ports):
    """Return ports that are free for both UDP and TCP."""
    with ExitStack() as stack:
        found = []
        while len(found) < n_ports:
            tcp = stack.enter_context(socket.socket())
            tcp.bind(("127.0.0.1", 0))
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            found.append(tcp.getsockname()[1])
        return found


def loopback():
    """Return an environment in which EPICS knows nothing but this machine, on ports of our own."""
    ca, repeater, tcp, udp = (str(port) for port in free_ports(4))
    return {key: value for key, value in os.environ.items() if not key.startswith("EPICS_")} | {
        "EPICS_CA_SERVER_PORT": ca,
        "EPICS_CA_REPEATER_PORT": repeater,
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_PVA_ADDR_LIST": "127.0.0.1",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_SERVER_PORT": tcp,
        "EPICS_PVA_BROADCAST_PORT": udp,
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_PVAS_SERVER_PORT": tcp,
        "EPICS_PVAS_BROADCAST_PORT": udp,
        "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1",
    }


class Ioc:
    def __init__(self, environment, n_scalars=0, kind="first"):
        command = [sys.executable, str(IOC), PREFIX, str(n_scalars), kind]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.hear("ready")

    def hear(self, word):
        """Wait for a line; the IOC itself says other things as well."""
        for line in self.process.stdout:
            if line.strip() == word:
                return
        raise AssertionError(f"the IOC ended before it said {word}")

    def tell(self, **what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        self.hear("done")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Bench:
    """An IOC, the service, and what is in its buffer."""

    def __init__(self, tmp_path):
        self.environment = loopback()
        self.directory = tmp_path / "pvs"
        self.path = tmp_path / "forebay.yaml"
        self.log = tmp_path / "log"
        self.iocs = []
        self.service = None

    def ioc(self, *args):
        self.iocs.append(Ioc(self.environment, *args))
        return self.iocs[-1]

    def serve(self, names, pulse_id_pv=None, **keys):
        asked = {"pvs": names, "directory": str(self.directory), **keys}
        if pulse_id_pv:
            asked["pulse_id_pv"] = pulse_id_pv
        self.path.write_text(yaml.safe_dump({"epics": {"slow": asked}}))
        command = [sys.executable, "-m", "forebay", "serve", "epics", "slow", "-c", str(self.path)]
        with self.log.open("a") as log:
            self.service = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def points(self, names):
        """Return everything that is in the buffer."""
        try:
            return retrieve_pvs(PvReader(self.directory), (0, 2**62), names, after_s=0)
        except ForebayError:  # the service has not made it yet
            return {}

    def wait(self, what, condition, names):
        def reached():
            points = self.points(names)
            return points if len(points) == len(names) and condition(points) else None

        return wait_until(reached, lambda: f"{what}; {self.log.read_text()[-2000:]}")

    def stop(self):
        self.service.send_signal(signal.SIGTERM)
        assert self.service.wait(30) == 0, self.log.read_text()
        last = [line for line in self.log.read_text().splitlines() if " buffered " in line][-1]
        return {
            key: int(value) for key, _, value in (w.partition("=") for w in last.split()) if value.isdigit()
        }

    def close(self):
        for ioc in self.iocs:
            if ioc.process.poll() is None:
                ioc.kill()
        if self.service is not None and self.service.poll() is None:
            self.service.kill()
            self.service.wait()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def pv(name, protocol=""):
    return f"{protocol}{PREFIX}:{name}"


def connected(points):
    return all(one.connected.any() for one in points.values())


def values(points):
    """Return the values of the points that have one."""
    return [value.tolist() for value in points.data[points.connected]]


def says(name, *wanted):
    """Return whether the values of a PV are these, with none between."""
    return lambda points: name in points and values(points[name]) == list(wanted)


@pytest.mark.parametrize("protocol", ["", "pva://"])
def test_every_type_arrives_with_alarm_and_time(bench, protocol):
    ioc = bench.ioc()
    names = {short: pv(short, protocol) for short in "AIESLWH"}
    bench.serve([*names.values()], long_strings=[] if protocol else [names["L"]])
    bench.wait("all are connected", connected, [*names.values()])
    ioc.tell(set={"A": 200.0, "I": -3, "E": 2, "S": "Grüße", "L": "x" * 300, "W": [4.0], "H": [5, 6, 7]})
    ioc.tell(set={"A": -200.0, "W": list(range(64))})
    bench.wait("the last value", lambda points: len(values(points[names["W"]])) == 3, [*names.values()])
    bench.wait("the alarm", lambda points: len(values(points[names["A"]])) == 3, [*names.values()])
    counters = bench.stop()
    points = bench.points([*names.values()])

    a, w = points[names["A"]], points[names["W"]]
    assert values(a) == [1.5, 200.0, -200.0]
    assert a.status.tolist() == ["unknown", "NO_ALARM", "HIHI", "LOW", "unknown"]
    assert a.severity.tolist() == [3, 0, 2, 1, 3]
    assert a.connected.tolist() == [False, True, True, True, False]
    assert (np.diff(a.timestamp_ns[1:4]) > 0).all()
    assert (a.received_ns[2:4] >= a.timestamp_ns[2:4]).all()
    assert (a.timestamp_ns[1:4] % 1000 != 0).any()  # ns, not us
    assert values(points[names["I"]]) == [7, -3]
    assert values(points[names["E"]]) == [1, 2]
    assert values(points[names["S"]]) == ["hello", "Grüße"]
    assert values(points[names["L"]]) == ["long " * 20, "x" * 300]
    assert w.types == ("<f8[3]", "<f8[1]", "<f8[64]")
    assert w.shape[w.connected, 0].tolist() == [3, 1, 64]
    assert w.data[3].tolist() == list(range(64))
    assert points[names["H"]].data.dtype == np.int16
    assert values(points[names["H"]]) == [[1, -2, 0], [5, 6, 7]]
    assert points[names["E"]].data.dtype == np.uint16
    assert counters["received"] == counters["written"] == counters["source_received"] + len(names)


@pytest.mark.parametrize("protocol", ["", "pva://"])
def test_an_ioc_that_is_killed_and_comes_back_changed(bench, protocol):
    first = bench.ioc()
    a, x, static, never = (pv(one, protocol) for one in ("A", "X", "STATIC", "NEVER"))
    bench.serve([a, x, static, never])
    names = [a, x, static, never]
    bench.wait("connected", lambda points: connected({k: points[k] for k in (a, x, static)}), names)
    first.tell(set={"A": 2.5})
    bench.wait("the value", says(a, 1.5, 2.5), names)
    first.kill()
    bench.wait("the loss", lambda points: not points[static].connected[-1], names)
    second = bench.ioc(0, "other")
    bench.wait(
        "it is back",
        lambda points: (
            connected({k: v for k, v in points.items() if k != never})
            and all(points[k].connected[-1] for k in (a, x, static))
        ),
        names,
    )
    second.tell(set={"A": 3.5})
    bench.wait("values again", says(a, 1.5, 2.5, 1.5, 3.5), names)
    bench.stop()
    points = bench.points(names)
    assert points[a].connected.tolist() == [False, True, True, False, True, True, False]
    assert points[static].connected.tolist() == [False, True, False, True, False]
    assert values(points[static]) == [42.0, 42.0]
    assert points[x].types == ("<i4", "<f8[2]")
    assert values(points[x]) == [[5.0, 0.0], [1.0, 2.0]]
    assert points[never].data is None
    assert not points[never].connected.any()


@pytest.mark.parametrize("protocol", ["", "pva://"])
def test_a_thousand_channels(bench, protocol):
    ioc = bench.ioc(1000)
    names = [pv(f"N{i}", protocol) for i in range(1000)]
    bench.serve(names)
    bench.wait("all are connected", connected, names)
    ioc.tell(ramp=5)
    bench.wait("all values", lambda points: all(one.connected.sum() == 6 for one in points.values()), names)
    counters = bench.stop()
    points = bench.points(names)
    for i, name in enumerate(names):
        assert values(points[name]) == [i + 10_000.0 * step for step in range(6)]
    assert counters["source_not_taken"] == counters["not_written"] == counters["refused"] == 0
    assert counters["source_values"] == 6000


def test_pulse_ids_of_values(bench):
    ioc = bench.ioc()
    names = [pv("A"), pv("PULSE"), pv("STATIC"), pv("A", "pva://")]
    bench.serve([pv("A"), pv("STATIC"), pv("A", "pva://")], pulse_id_pv=pv("PULSE"))
    bench.wait("all are connected", connected, names)
    ioc.tell(beat=[1000, 200, 0.01])
    bench.wait("the last beat", lambda points: values(points[pv("A")])[-1:] == [1199.0], names)
    bench.stop()
    points = retrieve_pvs(PvReader(bench.directory), PulseRange(1050, 1149), [*names, "NOT:BUFFERED"])
    assert list(points) == names
    for name in (pv("A"), pv("A", "pva://")):
        one = points[name]
        inside = (one.pulse_id >= 1050) & (one.pulse_id <= 1149) & one.pulse_id_known
        assert one.data[inside].tolist() == list(range(1050, 1150))
        assert one.pulse_id[inside].tolist() == list(range(1050, 1150))
        assert len(one) <= 104  # and no more than the ends
    assert values(points[pv("STATIC")]) == [42.0]
    assert points[pv("STATIC")].pulse_id_known.tolist()[0] is False


def test_supervised_and_killed(bench):
    ioc = bench.ioc()
    bench.serve([pv("A")])
    bench.wait("connected", connected, [pv("A")])
    ioc.tell(set={"A": 9.0})
    bench.wait("the value", says(pv("A"), 1.5, 9.0), [pv("A")])
    bench.service.kill()
    bench.service.wait()
    with bench.log.open("a") as log:
        command = [sys.executable, "-m", "forebay", "run", str(bench.path)]
        environment = bench.environment | {"FOREBAY_RUNTIME_DIR": str(bench.directory.parent / "run")}
        bench.service = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    bench.wait("after the kill", says(pv("A"), 1.5, 9.0, 9.0), [pv("A")])
    bench.stop()
    assert bench.points([pv("A")])[pv("A")].connected.tolist() == [False, True, True, False, True, False]


def test_mistakes_are_named(bench):
    bench.serve(["A", "A"])
    assert bench.service.wait(30) == 1
    assert "pvs names A more than once" in bench.log.read_text()
    bench.serve([])
    assert bench.service.wait(30) == 1
    assert "has no PVs" in bench.log.read_text()
