"""SSDAQ's commands as their users type them, with nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml
from tests.ports import free_ports

from forebay.stream.request import ask

README = Path(__file__).parents[1] / "vectors" / "ssdaq" / "readme" / "control-ssdaq.yaml"
PATIENCE_S = 60.0
FOREBAY = [sys.executable, "-m", "forebay"]
_COMMANDS = {
    "control-ssdaq": "control_ssdaq",
    "ssdaq": "ssdaq",
    "ssdatawriter": "ssdatawriter",
    "ss-example-listener": "ss_example_listener",
}


def free_port(kind: int) -> int:
    return free_ports(1, kind)


def until(condition, what, timeout=PATIENCE_S):
    """Return the first true value of `condition`."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return value


class Typed:
    """``control-ssdaq`` with a configuration of a test, in its folder, where its daemons' logs lie."""

    def __init__(self, folder: Path, runtime: Path, config: dict, **environment: str) -> None:
        self.folder = folder
        self.config = config
        self.path = folder / "ssdaq.yaml"
        self.environment = os.environ | {"FOREBAY_RUNTIME_DIR": str(runtime)} | environment
        self.environment.pop("SSDAQ_INSTANCE", None)
        self.save()

    def save(self) -> None:
        self.path.write_text(yaml.safe_dump(self.config), encoding="utf-8")

    def command(self, name: str, *words: object) -> list[str]:
        code = f"from forebay.service.readout_commands import {_COMMANDS[name]} as main; main()"
        return [sys.executable, "-c", code, *map(str, words)]

    def __call__(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("control-ssdaq", *words),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
        )

    def good(self, *words: object) -> str:
        done = self(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        return "".join(log.read_text(encoding="utf-8") for log in self.folder.glob("*.log"))


class Ssdaq(Typed):
    """The README's configuration, with addresses and ports of a test; stops its daemons at the end."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.udp = free_port(socket.SOCK_DGRAM)
        self.local, self.outbound, self.remote = (free_port(socket.SOCK_STREAM) for _ in range(3))
        config = yaml.safe_load(README.read_text(encoding="utf-8"))
        config["SSFileWriter"] |= {"file_enumerator": "order", "folder": f"{folder}/", "port": self.local}
        for daemon, log in (("ReadoutFileWriterDaemon", "dw.log"), ("ReadoutAssemblerDaemon", "roa.log")):
            config[daemon] |= {"stdout": str(folder / log), "stderr": str(folder / log)}
        config["ReadoutAssemblerDaemon"]["core_id"] = min(os.sched_getaffinity(0))
        assembler = config["ReadoutAssembler"]
        assembler["SSReadoutAssembler"] |= {"listen_ip": "127.0.0.1", "listen_port": self.udp}
        ports = [("127.0.0.101", self.local), ("127.0.0.1", self.outbound), ("127.0.0.1", self.remote)]
        for publisher, (ip, port) in zip(assembler["ReadoutPublishers"].values(), ports, strict=True):
            publisher |= {"ip": ip, "port": port}
        super().__init__(folder, runtime, config)

    def status(self, instance: str = "") -> dict:
        """Return what ``roa-ctrl status --json`` prints, without a process for each look."""
        name = "ssdaq-control" + (f"-{instance}" if instance else "")
        return json.loads(
            ask(f"ipc://{self.environment['FOREBAY_RUNTIME_DIR']}/{name}", b"status", PATIENCE_S)
        )

    def simulate(self, n: int, *words: object) -> None:
        subprocess.run(
            [
                *FOREBAY,
                "camera",
                "simulate",
                "--port",
                str(self.udp),
                "--pattern",
                "--rate",
                "500",
                "-n",
                str(n),
                *map(str, words),
            ],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S * 2,
        )

    def wait_readouts(self, n: int) -> dict:
        def come():
            status = self.status()
            return status if status["builder"]["readouts"] == n else None

        return until(come, f"{n} readouts")

    def wait_subscribers(self, *n_listening: int) -> None:
        until(
            lambda: [one["subscribers"] for one in self.status()["publishers"]] == list(n_listening),
            f"{n_listening} subscribers",
        )

    def close(self) -> None:
        for what in ("dw", "roa"):
            self("stop", what)
