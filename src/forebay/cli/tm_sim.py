"""SSDAQ's ``tm-ss-sim`` scripts: one simulated module, and a container for each of a camera's modules."""

from __future__ import annotations

import argparse
import ipaddress
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from forebay.cli.sim_control import STARTED
from forebay.errors import ConfigError, ForebayError, ServiceError
from forebay.sim.camera_control import PORT

_IMAGE = "ss-sim"
_HOST = "172.17.0.1"
_MOST = 32


def simulator(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``SSUDPTMSimulator.py [PORT [HOST]]``: ten readouts a second of one module, until Ctrl-C.

    The environment of a container (``MY_IP``, ``COM_PORT``, ``TM_ID``) says what its options leave open.
    """
    given = os.environ
    parser = argparse.ArgumentParser(
        "SSUDPTMSimulator.py",
        description="Slow signals of one TARGET module, whose commands sim_control.py sends.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("port", nargs="?", type=int, metavar="PORT", help="UDP port of the assembler, as -d")
    parser.add_argument("host", nargs="?", metavar="HOST", help="Where it is, as -i")
    parser.add_argument("-d", "--data-port", type=int, default=2009, help="UDP port of the assembler")
    parser.add_argument("-i", "--ip", default="127.0.0.1", help="Where the assembler is")
    parser.add_argument(
        "-c",
        "--com-port",
        type=int,
        default=given.get("COM_PORT", PORT),
        help="TCP port of commands; 0: none",
    )
    parser.add_argument(
        "-m", "--my-ip", default=given.get("MY_IP"), help="Address to send from and to take commands at"
    )
    parser.add_argument("-t", "--tm-id", type=int, default=given.get("TM_ID", 1), help="Name of the module")
    parser.add_argument("-r", "--rate", type=float, default=10.0, help="Readouts a second")
    parser.add_argument("-n", "--count", type=int, help="End after so many readouts")
    asked = parser.parse_args(words)
    _exit(lambda: _simulate(asked))


def _simulate(asked: argparse.Namespace) -> None:
    from forebay.cli.module_control import controlled
    from forebay.service.process import stop_on_signal
    from forebay.sim.camera import Camera, CameraOptions

    host, port = asked.host or asked.ip, asked.port or asked.data_port
    camera = Camera(
        CameraOptions(
            host=host,
            port=port,
            rate_hz=asked.rate,
            count=asked.count,
            modules=(0,),
            network="",
            source=asked.my_ip or "",
        )
    )
    try:
        with stop_on_signal() as stop, controlled(camera, asked.com_port, asked.tm_id):
            sent = camera.run(stop.is_set)
    finally:
        camera.close()
    print(f"sent {sent['datagrams']} datagrams to {host}:{port}")


def docker_command(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``docker-command.py``: build the image, run and stop a container for each module.

    The list of those that run, ``.started_tms.txt``, lies beside the script.
    """
    parser = argparse.ArgumentParser(
        "docker-command.py",
        description="One container for each module.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("-b", "--build", action="store_true", help="Build the image ss-sim")
    parser.add_argument("-r", "--run", action="store_true", help="Start the modules")
    parser.add_argument("-s", "--stop", action="store_true", help="Stop those that were started")
    parser.add_argument("-p", "--print", action="store_true", help="Print docker's commands, carry none out")
    parser.add_argument("--compose", action="store_true", help="Print a compose file of the modules")
    parser.add_argument(
        "-n", "--network-name", default="my-net", help="Docker network; made if it is missing"
    )
    parser.add_argument("-i", "--ip", default="172.18.0.", help="First three bytes of the modules' addresses")
    parser.add_argument("-N", "--number", type=int, default=_MOST, help="How many modules")
    parser.add_argument("--host", default=_HOST, help="Where the assembler is")
    parser.add_argument("--port", type=int, default=2009, help="Its UDP port")
    asked = parser.parse_args(words)
    if not (asked.build or asked.run or asked.stop or asked.print or asked.compose):
        parser.error("nothing to do: give -b, -r, -s, -p or --compose")
    _exit(lambda: _docker(asked, Path(sys.argv[0]).absolute().parent))


def _docker(asked: argparse.Namespace, folder: Path) -> None:
    if not 1 <= asked.number <= _MOST:
        raise ConfigError(f"A camera has no {asked.number} modules.", f"Give 1 to {_MOST}.")
    if asked.compose:
        print(
            yaml.safe_dump(compose(asked.number, asked.ip, asked.host, asked.port), sort_keys=False), end=""
        )
        return
    docker = Docker(folder, is_dry=asked.print)
    if asked.build:
        docker.run("build", "-t", _IMAGE, "-f", str(folder / "Dockerfile"), str(folder.parent))
    if asked.stop:
        docker.stop()
    if asked.run or (asked.print and not asked.build and not asked.stop):
        docker.start(asked.number, asked.network_name, asked.ip, asked.host, asked.port)


class Docker:
    """The containers of simulated modules, and the list of those that were started.

    Raises
    ------
    ForebayError
        If docker is not there, or refuses; also if modules run already.
    """

    def __init__(self, folder: Path, *, is_dry: bool) -> None:
        self._started = folder / STARTED
        self._is_dry = is_dry

    def run(self, *words: str) -> None:
        """Carry a command out, or only print it."""
        print(" ".join(("docker", *words)), flush=True)
        if not self._is_dry:
            _run(["docker", *words])

    def start(self, n: int, network: str, prefix: str, host: str, port: int) -> None:
        """Start modules 0 to `n` - 1; after a failure those that run are in the list."""
        if self._started.exists() and not self._is_dry:
            raise ConfigError(
                f"Modules run already ({self._started}).", "Stop them first: docker-command.py -s"
            )
        if not self._is_dry and not _has_network(network):
            self.run("network", "create", "--driver=bridge", f"--subnet={_subnet(prefix)}", network)
        for i in range(n):
            self.run(*run_command(i, network, prefix, host, port))
            if not self._is_dry:
                with self._started.open("a", encoding="utf-8") as started:
                    started.write(f"{module_name(i)} {_address(prefix, i)}:{PORT}\n")

    def stop(self) -> None:
        """Stop those of the list."""
        text = self._started.read_text(encoding="utf-8") if self._started.exists() else ""
        names = [line.split()[0] for line in text.splitlines() if line.split()]
        if names:
            self.run("rm", "--force", *names)
        if not self._is_dry:
            self._started.unlink(missing_ok=True)
        print(f"stopped {len(names)} modules")


def module_name(i: int) -> str:
    """Return the name of a module's container."""
    return f"TM{i}"


def _address(prefix: str, i: int) -> str:
    """Return the address of a module, whose last byte is 100 + its number."""
    return str(ipaddress.IPv4Address(f"{prefix}{100 + i}"))


def _subnet(prefix: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(f"{prefix}0/24")


def _words(i: int, prefix: str, host: str, port: int) -> list[str]:
    """Return the command line of the simulator of module `i`."""
    return [str(port), host, "-m", _address(prefix, i), "-t", str(i), "-c", str(PORT)]


def run_command(i: int, network: str, prefix: str, host: str, port: int) -> list[str]:
    """Return docker's words that start the container of module `i`."""
    where = ["--net", network, "--ip", _address(prefix, i), "--name", module_name(i)]
    return ["run", "--detach", "--rm", *where, _IMAGE, *_words(i, prefix, host, port)]


def compose(n: int, prefix: str, host: str, port: int) -> dict[str, Any]:
    """Return a compose file of `n` modules."""
    services = {
        f"tm{i:02}": {
            "image": _IMAGE,
            "build": {"context": "..", "dockerfile": "tm-ss-sim/Dockerfile"},
            "command": _words(i, prefix, host, port),
            "networks": {"camera": {"ipv4_address": _address(prefix, i)}},
        }
        for i in range(n)
    }
    return {
        "services": services,
        "networks": {"camera": {"ipam": {"config": [{"subnet": str(_subnet(prefix))}]}}},
    }


def _has_network(name: str) -> bool:
    try:
        asked = subprocess.run(["docker", "network", "inspect", name], check=False, capture_output=True)
        return asked.returncode == 0
    except FileNotFoundError as error:
        raise _no_docker() from error


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise _no_docker() from error
    except subprocess.CalledProcessError as error:
        raise ServiceError(f"{' '.join(command)} failed with code {error.returncode}.") from error


def _no_docker() -> ServiceError:
    return ServiceError("There is no docker on this host.", "forebay camera simulate needs none.")


def _exit(work: Any) -> NoReturn:
    try:
        work()
    except (ForebayError, ValueError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    raise SystemExit(0)
