"""Other streams of a camera under a supervisor: ready, counted in the metrics, started again, stopped."""

import os
import signal
import socket
import urllib.request
from contextlib import closing, suppress

import pytest
from tests.system.stand import Stand, free_ports, wait_until

from forebay.stream.messages import MessageListener
from forebay.wire import cdts

pytestmark = pytest.mark.system

LOG = cdts.encode(
    cdts.LOG,
    {
        "systemType": 1,
        "severity": 20,
        "sender": "test",
        "message": "hello",
        "time": 1,
        "pid": 1,
        "sourceFile": "a",
        "line": 1,
    },
)


class InletStand(Stand):
    """A telescope, monitoring of it, and logs."""

    def __init__(self, directory):
        super().__init__(directory)
        self.api_port, self.log_port, self.monitor_port, *self.out = (
            free_ports(1, socket.SOCK_STREAM) for _ in range(6)
        )
        out = [[{"address": "127.0.0.1", "port": port}] for port in self.out]
        settings = {key: value for key, value in self.settings.items() if key != "detectors"}
        monitoring = {"kind": "monitoring", "address": "127.0.0.1", "port": self.monitor_port}
        monitor = f"tcp://127.0.0.1:{self.monitor_port}"
        telescope = {"kind": "telescope", "period_s": 0.05, "monitor": monitor, "publishers": out[1]}
        self.configure(
            {
                **settings,
                "inlets": {
                    "logs": {"kind": "logs", "port": self.log_port, "publishers": out[0]},
                    "telescope": telescope,
                    "monitoring": {**monitoring, "publishers": out[2]},
                },
                "api": {"port": self.api_port},
            }
        )

    def counter(self, name, counter):
        """Return what a service has counted, as Prometheus would read it; 0 as long as it says nothing."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/metrics") as response:
            text = response.read().decode()
        lines = [line for line in text.splitlines() if line.startswith("forebay_service_counter_total{")]
        mine = [line for line in lines if f"inlet.{name}" in line and f'counter="{counter}"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in mine)

    def logs_pass(self):
        """Send a log record until it comes out, also where nobody listens yet."""

        def comes(listener):
            with (
                suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", self.log_port)) as client,
            ):
                client.sendall(LOG)
            return listener.read(0.2)

        with closing(MessageListener("127.0.0.1", self.out[0])) as listener:
            wait_until(lambda: comes(listener), lambda: f"a log record\n{self.logs()}")


def test_inlets_are_services(tmp_path):
    with InletStand(tmp_path) as stand:
        program = stand.run()
        stand.logs_pass()
        for name, counter in (
            ("telescope", "messages"),
            ("monitoring", "messages"),
            ("logs", "publishers_sent"),
        ):
            wait_until(
                lambda name=name, counter=counter: stand.counter(name, counter),
                lambda name=name: f"counters of {name}",
            )
        stand.name = "logs"
        before = stand.service("inlet")
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: stand.service("inlet") not in (None, before), lambda: f"logs\n{stand.logs()}")
        stand.logs_pass()
        assert program.stop().code == 0
