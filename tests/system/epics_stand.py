"""An IOC, the service that buffers it, and what is in the buffer, on ports of our own."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import yaml
from tests import ports
from tests.system.stand import wait_until

from forebay.errors import ForebayError
from forebay.ring.pv_reader import PvReader, retrieve_pvs

IOC = Path(__file__).with_name("ioc.py")
PREFIX = "FOREBAY:TEST"
BOUND_S = 60  # a thousand channels of an IOC, the service and the look at its buffer share one machine


def free_ports(n_ports):
    """Return ports that are free for both UDP and TCP."""
    found = []
    while len(found) < n_ports:
        port = ports.free_ports(1, socket.SOCK_STREAM)
        if ports.is_free(port, socket.SOCK_DGRAM):
            found.append(port)
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
    def __init__(self, environment, n_scalars=0, kind="first", before=()):
        command = [*before, sys.executable, str(IOC), PREFIX, str(n_scalars), kind]
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

        return wait_until(reached, lambda: f"{what}; {self.log.read_text()[-2000:]}", BOUND_S)

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


def pv(name, protocol=""):
    return f"{protocol}{PREFIX}:{name}"


def connected(points):
    return all(one.connected.any() for one in points.values())


def values(points):
    """Return the values of the points that have one."""
    return [value.tolist() for value in points.data[points.connected]]
