"""SSDAQ's ``tm-ss-sim`` scripts: one simulated module, and a container for each of a camera's modules."""

from __future__ import annotations

import argparse
import ipaddress
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from forebay.errors import ConfigError, ForebayError, ServiceError

_IMAGE = "ss-sim"
_STARTED = Path(".started_tms.txt")
_HOST = "172.17.0.1"
_MOST = 32


def simulator(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``SSUDPTMSimulator.py [PORT [HOST]]``: ten readouts a second of one module, until Ctrl-C."""
    parser = argparse.ArgumentParser("SSUDPTMSimulator.py", description="Slow signals of one TARGET module.")
    parser.add_argument("port", nargs="?", type=int, metavar="PORT", help="UDP port of the assembler")
    parser.add_argument("host", nargs="?", metavar="HOST", help="Where it is")
    parser.add_argument("-d", dest="data_port", type=int, default=2009, help="As PORT")
    parser.add_argument("-i", dest="ip", default="127.0.0.1", help="As HOST")
    parser.add_argument("-r", "--rate", type=float, default=10.0, help="Readouts a second")
    parser.add_argument("-n", "--count", type=int, help="End after so many readouts")
    parser.add_argument(
        "-c", "-m", "-t", dest="unused", action="append", help="Of the original's control channel: not used"
    )
    asked = parser.parse_args(words)
    _exit(lambda: _simulate(asked.host or asked.ip, asked.port or asked.data_port, asked.rate, asked.count))


def _simulate(host: str, port: int, rate: float, count: int | None) -> None:
    from forebay.service.process import stop_on_signal
    from forebay.sim.camera import Camera, CameraOptions

    camera = Camera(CameraOptions(host=host, port=port, rate_hz=rate, count=count, modules=(0,), network=""))
    try:
        with stop_on_signal() as stop:
            sent = camera.run(stop.is_set)
    finally:
        camera.close()
    print(f"sent {sent['datagrams']} datagrams to {host}:{port}")


def docker_command(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``docker-command.py``: build the image, run and stop a container for each module."""
    parser = argparse.ArgumentParser("docker-command.py", description="One container for each module.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-b", "--build", action="store_true", help="Build the image ss-sim")
    what.add_argument("-r", "--run", action="store_true", help="Start the modules")
    what.add_argument("-s", "--stop", action="store_true", help="Stop those that were started")
    what.add_argument("-p", "--print", action="store_true", help="Print what -r would do")
    what.add_argument("--compose", action="store_true", help="Print a compose file of them")
    parser.add_argument("-n", "--network", default="my-net", help="Docker network")
    parser.add_argument("-i", "--ip", default="172.18.0.", help="First three bytes of the modules' addresses")
    parser.add_argument("-N", "--number", type=int, default=_MOST, help="How many modules")
    parser.add_argument("--host", default=_HOST, help="Where the assembler is")
    parser.add_argument("--port", type=int, default=2009, help="Its UDP port")
    asked = parser.parse_args(words)
    _exit(lambda: _docker(asked))


def _docker(asked: argparse.Namespace) -> None:
    if not 1 <= asked.number <= _MOST:
        raise ConfigError(f"A camera has no {asked.number} modules.", f"Give 1 to {_MOST}.")
    if asked.compose:
        print(
            yaml.safe_dump(compose(asked.number, asked.ip, asked.host, asked.port), sort_keys=False), end=""
        )
    elif asked.build:
        _run(["docker", "build", "-t", _IMAGE, str(Path(sys.argv[0]).absolute().parent)])
    elif asked.stop:
        names = _STARTED.read_text(encoding="utf-8").split() if _STARTED.exists() else []
        if names:
            _run(["docker", "rm", "--force", *names])
        _STARTED.unlink(missing_ok=True)
        print(f"stopped {len(names)} modules")
    else:
        for i in range(asked.number):
            command = run_command(i, asked.network, asked.ip, asked.host, asked.port)
            if asked.print:
                print(" ".join(command))
                continue
            _run(command)
            with _STARTED.open("a", encoding="utf-8") as started:
                started.write(f"{module_name(i)}\n")


def module_name(i: int) -> str:
    """Return the name of a module's container."""
    return f"TM{i}"


def _address(prefix: str, i: int) -> str:
    """Return the address of a module, whose last byte is 100 + its number."""
    return str(ipaddress.IPv4Address(f"{prefix}{100 + i}"))


def run_command(i: int, network: str, prefix: str, host: str, port: int) -> list[str]:
    """Return the command that starts the container of module `i`."""
    where = ["--net", network, "--ip", _address(prefix, i), "--name", module_name(i)]
    return ["docker", "run", "--detach", "--rm", *where, _IMAGE, str(port), host]


def compose(n: int, prefix: str, host: str, port: int) -> dict[str, Any]:
    """Return a compose file of `n` modules."""
    network = ipaddress.ip_network(f"{prefix}0/24")
    services = {
        f"tm{i:02}": {
            "image": _IMAGE,
            "build": ".",
            "command": [str(port), host],
            "networks": {"camera": {"ipv4_address": _address(prefix, i)}},
        }
        for i in range(n)
    }
    return {
        "services": services,
        "networks": {"camera": {"ipam": {"config": [{"subnet": str(network)}]}}},
    }


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise ServiceError(
            "There is no docker on this host.", "forebay camera simulate needs none."
        ) from error
    except subprocess.CalledProcessError as error:
        raise ServiceError(f"{' '.join(command)} failed with code {error.returncode}.") from error


def _exit(work: Any) -> NoReturn:
    try:
        work()
    except (ForebayError, ValueError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    raise SystemExit(0)
