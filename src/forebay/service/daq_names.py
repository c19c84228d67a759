"""How the receivers and writers of SSDAQ 0.9 are found on this host: pid files and control channels."""

from __future__ import annotations

from forebay.config import default_runtime_dir
from forebay.front.ssdaq.components import Part
from forebay.runtime import private_directory
from forebay.service.daemon import PidFile
from forebay.service.readout_control import instance_name
from forebay.stream.endpoint import ipc

_KINDS: dict[Part, str] = {"Receiver": "daq", "Writer": "dw"}


def _base(part: Part, instance: str) -> str:
    return instance_name(_KINDS[part], instance) + ":"


def pid_file_of(part: Part, name: str, instance: str = "") -> PidFile:
    """Return the pid file of a component."""
    return PidFile(default_runtime_dir(), _base(part, instance) + name)


def control_of(name: str, instance: str = "") -> str:
    """Return where a receiver other than the assembler listens for commands."""
    return ipc(private_directory(default_runtime_dir()), instance_name("control", instance) + ":" + name)


def running(part: Part, instance: str = "") -> list[str]:
    """Return the names of the components that run now, sorted."""
    base = _base(part, instance)
    found = sorted(path.name for path in default_runtime_dir().glob(f"{base}*.pid"))
    names = [name.removeprefix(base).removesuffix(".pid") for name in found]
    return [name for name in names if pid_file_of(part, name, instance).is_held()]
