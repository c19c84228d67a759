"""All receivers of SSDAQ 0.9 on ports of a test, and what a camera sends to them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from tests.system.ssdaq_stand import FOREBAY, PATIENCE_S, Typed, free_port, until

from forebay.stream.request import ask

STREAMS = {
    "Slow": "ReadoutAssembler",
    "Log": "LogReceiver",
    "Trigger": "TriggerPacketReceiver",
    "Time": "TimestampReceiver",
    "Monitor": "MonitorReceiver",
    "Tel": "TelDataReceiver",
}


def command(name: str, *words: object) -> list[str]:
    """Return the command line of a dumper or writer."""
    code = f"from forebay.service.readout_successor_commands import {name} as main; main()"
    return [sys.executable, "-c", code, *map(str, words)]


class Daq(Typed):
    """Configuration and runtime directory of a test; stops its daemons at the end."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.udp, self.trigger = (free_port(socket.SOCK_DGRAM) for _ in range(2))
        self.log, self.bunches, self.monitor = (free_port(socket.SOCK_STREAM) for _ in range(3))
        self.published = {name: free_port(socket.SOCK_STREAM) for name in STREAMS}
        self.pointings = folder / "telescope.jsonl"
        settings = {
            "Slow": {"listen_ip": "127.0.0.1", "listen_port": self.udp},
            "Log": {"ip": "127.0.0.1", "port": self.log},
            "Trigger": {"ip": "127.0.0.1", "port": self.trigger},
            "Time": {"ip": "127.0.0.1", "port": self.bunches},
            "Monitor": {"ip": "127.0.0.1", "port": self.monitor},
            "Tel": {"source": "file", "file": str(self.pointings), "period_s": 0.1},
        }
        config = {
            name: {
                "Daemon": {
                    "stdout": f"{folder}/{name}.log",
                    "stderr": f"{folder}/{name}.log",
                    "monitor": f"tcp://127.0.0.1:{self.monitor}",
                    "log_server": "",
                },
                "Receiver": {"class": STREAMS[name], **settings[name]},
                "Publishers": {
                    "P": {"class": "ZMQTCPPublisher", "ip": "127.0.0.1", "port": self.published[name]}
                },
            }
            for name in STREAMS
        }
        super().__init__(folder, runtime, config, HOME=str(folder))

    def status(self, names=tuple(STREAMS)) -> dict:
        """Return what ``status daq --json`` prints, without a process for each look."""
        base = f"ipc://{self.environment['FOREBAY_RUNTIME_DIR']}/ssdaq-control"
        endpoints = {name: base if name == "Slow" else f"{base}:{name}" for name in names}
        return {name: json.loads(ask(one, b"status", PATIENCE_S)) for name, one in endpoints.items()}

    def wait_status(self, what: str, condition, names=tuple(STREAMS)) -> dict:
        def look():
            status = self.status(names)
            return status if condition(status) else None

        return until(look, what)

    def simulate(self, *words: object) -> None:
        done = subprocess.run(
            [*FOREBAY, "camera", *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        self("stop", "dw")
        self("stop", "daq")
