"""``control-ssdaq``, ``ssdaq``, ``ssdatawriter`` and ``ss-example-listener``, as SSDAQ's users type them."""

from __future__ import annotations

import json
import logging
import sys
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from forebay.config import default_runtime_dir
from forebay.errors import ServiceError
from forebay.front.ssdaq import arguments
from forebay.front.ssdaq.words import PUBLISH, RESET, STATUS
from forebay.service.daemon import PidFile, in_foreground
from forebay.service.process import carry_out, log_to_stderr, stop_on_signal
from forebay.service.readout_control import default_control, instance_name

if TYPE_CHECKING:
    import numpy as np

    from forebay.front.ssdaq.components import Component, Part

_ANSWER_S = 5.0
_BAR = 40  # letters of the longest bar
_WORDS = {
    "reset-count": f"{RESET} 1",
    "pause-pub": f"{PUBLISH} False",
    "restart-pub": f"{PUBLISH} True",
    "status": STATUS,
}


def control_ssdaq() -> NoReturn:
    """Run ``control-ssdaq``."""
    asked = arguments.control_arguments()
    carry_out("control-ssdaq", lambda: _control(asked))


def _control(asked: Namespace) -> None:
    from forebay.service import daq_commands

    part = _part(asked)
    match asked.command:
        case "start" | "restart" if part is not None and getattr(asked, "list", False):
            daq_commands.list_components(asked, part)
        case "start" if part is not None:
            daq_commands.start(asked, part)
        case "restart" if part is not None:
            daq_commands.restart(asked, part)
        case "stop" if part is not None:
            daq_commands.stop(asked, part)
        case "status":
            daq_commands.status(asked)
        case _:
            work = {"start": _start, "restart": _restart, "stop": _stop, "roa-ctrl": _command}
            work[asked.command](asked)


def _part(asked: Namespace) -> Part | None:
    """Return which components of SSDAQ 0.9 a command is about; None if it is about a daemon of 0.7."""
    if asked.what == "daq":
        return "Receiver"
    if asked.what != "dw":
        return None
    if asked.command == "stop":
        from forebay.service.daq_names import running

        is_ours = running("Writer", asked.instance) and not _pid_file(asked).is_held()
        return "Writer" if asked.names or is_ours else None
    from forebay.front.ssdaq.components import home_config, is_file_of_components

    path = asked.config or home_config("writer-config")
    return "Writer" if asked.names or (path is not None and is_file_of_components(path)) else None


def ssdaq() -> NoReturn:
    """Run ``ssdaq``."""
    asked = arguments.ssdaq_arguments()
    carry_out("ssdaq", lambda: _run_ssdaq(asked))


def ssdatawriter() -> NoReturn:
    """Run ``ssdatawriter``."""
    asked = arguments.writer_arguments()
    carry_out("ssdatawriter", lambda: _run_writer(asked))


def ss_example_listener() -> NoReturn:
    """Run ``ss-example-listener``."""
    asked = arguments.listener_arguments()
    carry_out("ss-example-listener", lambda: _listen(asked))


def _pid_file(asked: Namespace) -> PidFile:
    kind = "dw" if asked.what == "dw" else "roa"
    return PidFile(default_runtime_dir(), instance_name(kind, asked.instance))


def _component(asked: Namespace) -> Component:
    """Return what a configuration of 0.7 has of a daemon; it tells nobody how it is, as in 0.7."""
    from forebay.front.ssdaq.components import home_config, of_predecessor
    from forebay.front.ssdaq.configuration import read_config

    is_writer = asked.what == "dw"
    config = read_config(asked.config or (home_config("writer-config") if is_writer else None))
    changes: dict[str, Any] = {}
    if getattr(asked, "filename_prefix", None):
        changes["file_prefix"] = asked.filename_prefix
    if getattr(asked, "output_folder", None):
        changes["folder"] = asked.output_folder
    found = of_predecessor(config, "Writer" if is_writer else "Receiver")
    return replace(found, name=_pid_file(asked).name).changed(changes, {"monitor": "", "log_server": ""})


def _start(asked: Namespace) -> None:
    from forebay.service.daq_commands import run_here, started

    component = _component(asked)
    if asked.daemon:
        print(started(component, _pid_file(asked), asked.instance))
    else:
        run_here(component, _pid_file(asked), asked.instance)


def _restart(asked: Namespace) -> None:
    from forebay.service.daq_commands import STOP_S, stopped

    component = _component(asked)  # a wrong file is found before anything is stopped
    try:
        print(stopped(component.name, _pid_file(asked), STOP_S))
    except ServiceError as error:
        print(error)
    _start(asked)


def _stop(asked: Namespace) -> None:
    from forebay.service.daq_commands import stopped

    print(stopped(_pid_file(asked).name, _pid_file(asked), asked.timeout))


def _command(asked: Namespace) -> None:
    from forebay.stream.request import ask

    endpoint = asked.control or default_control(asked.instance)
    reply = ask(endpoint, _WORDS[asked.what].encode(), _ANSWER_S).decode()
    if asked.what != "status" or asked.json:
        print(reply)
        return
    print("\n".join(status_lines(json.loads(reply))))


def status_lines(status: dict[str, Any]) -> list[str]:
    """Return what a person wants to know of `forebay.service.readout.ReadoutAssembler.status`."""
    said = [f"UDP port {status['port']}"]
    for part in ("receiver", "builder"):
        counted = ", ".join(f"{name} {n}" for name, n in status[part].items() if n)
        said.append(f"{part}: {counted or 'nothing yet'}")
    said.append(f"open: {status['open']} readouts wait for modules")
    said.append(f"publishing: {'yes' if status['publishing'] else 'no'}; withheld {status['withheld']}")
    said += [
        f"{one['name']} {one['endpoint']} ({one['mode']}), {one['subscribers']} listen: "
        f"sent {one['sent']} of {one['offered']}, "
        f"nobody there {one['unwatched']}, somebody too slow {one['congested']}"
        for one in status["publishers"]
    ]
    if any(status["datagrams_of_module"]) and status["missing_modules"]:
        said.append("never came: modules " + ", ".join(map(str, status["missing_modules"])))
    if status["shared_modules"]:
        shared = ", ".join(map(str, status["shared_modules"]))
        said.append(
            f"sent from several addresses: modules {shared}; give each its own, or name them (modules:)"
        )
    buffer = status["receive_buffer"]
    if buffer["given"] < buffer["asked"]:
        said.append(
            f"socket buffer: {buffer['given']} bytes, {buffer['asked']} were asked; bursts may be lost"
        )
    if overflow := status["block_log"].get("overflow"):
        said.append(f"packet_debug_stream_file: {overflow} blocks left out, the disk was too slow")
    if overflow := sum(queue["overflow"] for queue in status["queues"]):
        said.append(f"not written: {overflow} readouts, the disk was too slow")
    return [*said, *(f"failed: {reason}" for reason in status["failed"])]


def _run_ssdaq(asked: Namespace) -> None:
    from forebay.front.ssdaq.publisher import ZMQReadoutPublisher
    from forebay.service.process import say
    from forebay.service.readout_report import reporting, say_end
    from forebay.service.readout_server import SSReadoutAssembler

    log_to_stderr("ssdaq", logging.getLevelName(asked.verbose))
    with in_foreground(PidFile(default_runtime_dir(), instance_name("roa"))):
        ip = asked.publishing_interface
        publisher = ZMQReadoutPublisher(ip, asked.publishing_port, mode=_mode_of(ip))
        try:
            assembler = SSReadoutAssembler(
                asked.relaxed_ip, listen_port=asked.listen_port, publishers=[publisher]
            )
            say("assembling", port=assembler.port, publisher=publisher.endpoint)
            with reporting(assembler.status):
                assembler.run()
            say_end(assembler.status())
        finally:
            publisher.close()


def _mode_of(ip: str) -> Literal["local", "outbound"]:
    """Return how to publish at an interface that somebody typed: who names one of the network wants it."""
    try:
        return "local" if ip_address(ip).is_loopback else "outbound"
    except ValueError:
        return "local"  # the publisher refuses what is no address


def _run_writer(asked: Namespace) -> None:
    from forebay.service.file_writer import print_written, write_until
    from forebay.service.readout_classes import SSFileWriter

    log_to_stderr("ssdatawriter", logging.getLevelName(asked.verbose))
    prefix = Path(asked.filename)
    writer = SSFileWriter(
        prefix.name, asked.listen_ip, asked.listen_port, prefix.parent, file_enumerator="date"
    )
    with stop_on_signal() as stop:
        threading.Thread(target=_wait_for_yes, args=(stop,), daemon=True).start()
        write_until(stop, writer, print_written)


def _wait_for_yes(stop: threading.Event) -> None:
    """Set `stop` when somebody types yes; at the end of the input a signal is waited for."""
    print("Type 'yes' to stop.", flush=True)
    for line in sys.stdin:
        if line.strip() == "yes":
            stop.set()
            return


def _listen(asked: Namespace) -> None:
    from forebay.stream.readouts import ReadoutListener
    from forebay.wire.ssreadout import present

    listener = ReadoutListener(asked.listen_ip, asked.listen_port)
    n_of_modules: Counter[int] = Counter()
    try:
        with stop_on_signal() as stop:
            while not stop.is_set() and (asked.n_readouts is None or n_of_modules.total() < asked.n_readouts):
                readouts = listener.read(0.1)
                if asked.n_readouts is not None:
                    readouts = readouts[: asked.n_readouts - n_of_modules.total()]
                for one, there in zip(readouts, present(readouts).tolist(), strict=True):
                    modules = [i for i, is_there in enumerate(there) if is_there]
                    _print_readout(one, modules, asked.tm)
                    n_of_modules[len(modules)] += 1
    finally:
        counts = ", ".join(f"{name} {value}" for name, value in listener.counters.items())
        listener.close()
        print("\n".join([*histogram(n_of_modules), f"{n_of_modules.total()} readouts; {counts}"]))


def histogram(n_of_modules: Mapping[int, int]) -> list[str]:
    """Return a line with a bar for each number of modules that readouts had."""
    most = max(n_of_modules.values(), default=1)
    return [
        f"{modules:2} modules: {n:6} readouts {'█' * max(1, _BAR * n // most)}"
        for modules, n in sorted(n_of_modules.items())
    ]


def _print_readout(one: np.void, modules: list[int], shown: int | None) -> None:
    time_ns = int(one["time_ns"])
    print(f"Readout number: {int(one['number'])}")
    print(f"Timestamp: {time_ns} ns, {time_ns * 1e-9:.6f} s")
    print(f"Modules: {len(modules)}, {modules}", flush=True)
    if shown is not None:
        print(f"Module {shown}, mV: {one['data'][shown].round(2).tolist()}", flush=True)
