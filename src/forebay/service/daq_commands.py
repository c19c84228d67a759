"""``control-ssdaq start|stop|restart|status`` of the components of SSDAQ 0.9: receivers and writers."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from forebay.errors import ConfigError, ForebayError, ServiceError
from forebay.front.ssdaq.components import Component, Part, chosen, home_config, read_components
from forebay.service.daemon import PidFile, in_foreground, start_daemon
from forebay.service.daq_names import control_of, pid_file_of, running
from forebay.service.readout_control import default_control
from forebay.stream.request import ask

_MODULE = "forebay.service.daq_daemons"
_ANSWER_S = 5.0
STOP_S = 60.0
"""How long a restart waits for the end."""

_WHAT = {"Receiver": "receiver", "Writer": "writer"}


def components_of(asked: Namespace, part: Part) -> list[Component]:
    """Return the components that a command line asks for, as it wants them.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or has no such component.
    """
    path = asked.config or home_config("daq-config" if part == "Receiver" else "writer-config")
    known = read_components(path, part)
    if not known:
        where = str(path) if path is not None else "The default of SSDAQ 0.9"
        raise ConfigError(f"{where} has no {_WHAT[part]}.", "Name a configuration: -c FILE.")
    found = chosen(known, asked.names)
    changes: dict[str, Any] = {}
    if getattr(asked, "filename_prefix", None):
        changes["file_prefix"] = asked.filename_prefix
    if getattr(asked, "output_folder", None):
        changes["folder"] = asked.output_folder
    if "file_prefix" in changes and len(found) > 1:
        raise ConfigError("One prefix for the files of several writers.", "Name one writer.")
    return [one.changed(changes) for one in found]


def start(asked: Namespace, part: Part) -> None:
    """Start components, as daemons or one in the foreground; the others go on if one fails.

    Raises
    ------
    ForebayError
        If the configuration is wrong, or one cannot be started.
    """
    found = components_of(asked, part)
    if asked.daemon:
        _each(found, lambda one: started(one, _pid_file(one, asked), asked.instance))
        return
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise ConfigError(f"Several cannot run in the foreground: {names}.", "Give -d, or name one.")
    run_here(found[0], _pid_file(found[0], asked), asked.instance)


def _pid_file(one: Component, asked: Namespace) -> PidFile:
    return pid_file_of(one.part, one.name, asked.instance)


def run_here(one: Component, pid_file: PidFile, instance: str) -> None:
    """Run a component in the foreground until a signal; raises as `start`."""
    from forebay.service.daq_daemons import run

    with in_foreground(pid_file):
        run(one, instance, lambda: None)


def started(one: Component, pid_file: PidFile, instance: str) -> str:
    """Start a component in the background and return what to say of it; raises as `start`."""
    logs = one.daemon.stdout, one.daemon.stderr
    pid = start_daemon(_MODULE, [one.part, instance], json.dumps(one.plain()), pid_file, *logs)
    return f"{one.name} runs as process {pid}; its log is {logs[1]}"


def stop(asked: Namespace, part: Part) -> None:
    """Stop the components that run and whose names begin as asked for; all without a name.

    Raises
    ------
    ServiceError
        If none runs, or one did not end well.
    """
    names = running(part, asked.instance)
    wanted = _matching(names, asked.names, part) if asked.names else names
    if not wanted:
        raise ServiceError(
            f"No {_WHAT[part]} is running.",
            "Nothing is to be stopped; one of another name needs --instance NAME.",
        )
    _each(wanted, lambda name: stopped(name, pid_file_of(part, name, asked.instance), asked.timeout))


def _matching(names: Sequence[str], prefixes: Sequence[str], part: Part) -> list[str]:
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            there = ", ".join(names) or "none"
            raise ServiceError(f"No {_WHAT[part]} {prefix}... is running.", f"Running: {there}.")
    return [name for name in names if name.startswith(tuple(prefixes))]


def stopped(name: str, pid_file: PidFile, timeout: float) -> str:
    """Stop a component and return what to say of it; `ServiceError` if it did not run, or end well."""
    end = pid_file.stop(timeout)
    if end.failure:
        raise ServiceError(f"{name} has ended, but not well: {end.failure}", "Its log says more.")
    return f"{name} has ended" + (f"; {end.remark}" if end.remark else "")


def restart(asked: Namespace, part: Part) -> None:
    """Stop those components that run, then start all; raises as `start`."""
    found = components_of(asked, part)  # a wrong file is found before anything is stopped
    are_running = set(running(part, asked.instance))

    def again(one: Component) -> str:
        was, pid_file = f"{one.name} is not running.", _pid_file(one, asked)
        if one.name in are_running:
            was = stopped(one.name, pid_file, STOP_S)
        return f"{was}\n{started(one, pid_file, asked.instance)}"

    _each(found, again)


def list_components(asked: Namespace, part: Part) -> None:
    """Print name and class of every component of the configuration."""
    for one in components_of(asked, part):
        print(f"`{one.name}` as class: {one.kind}")


def status(asked: Namespace) -> None:
    """Print what each receiver that runs has received and published.

    Raises
    ------
    ServiceError
        If none runs, or one does not answer.
    """
    names = running("Receiver", asked.instance)
    wanted = _matching(names, asked.names, "Receiver") if asked.names else names
    if not wanted:
        raise ServiceError("No receiver is running.", "Start it first.")
    found = {}

    def look(name: str) -> str:
        endpoint = control_of(name, asked.instance)
        if not Path(endpoint.removeprefix("ipc://")).exists():
            endpoint = default_control(asked.instance)
        found[name] = json.loads(ask(endpoint, b"status", _ANSWER_S))
        return "" if asked.json else f"{name}: {_line(found[name])}"

    _each(wanted, look)
    if asked.json:
        print(json.dumps(found))


def _line(said: dict[str, Any]) -> str:
    words = [f"{name} {n}" for name, n in said["receiver"].items() if n] or ["nothing came"]
    words += [f"{one['endpoint']} sent {one['sent']} of {one['offered']}" for one in said["publishers"]]
    return ", ".join([*words, *(f"failed: {reason}" for reason in said["failed"])])


def _each(things: Sequence[Any], work: Callable[[Any], str]) -> None:
    """Do it with all at once, say what came of each, and raise at the end if one failed."""
    failures: list[ForebayError] = []
    with ThreadPoolExecutor(max(len(things), 1)) as pool:
        for one in [pool.submit(work, thing) for thing in things]:
            try:
                if said := one.result():
                    print(said, flush=True)
            except ForebayError as error:
                failures.append(error)
    for failure in failures[:-1]:
        print(f"control-ssdaq: {failure}", file=sys.stderr)
    if failures:
        raise failures[-1]
