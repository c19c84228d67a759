"""The receivers and writers of SSDAQ, 0.7 and 0.9, as processes, in the background or not."""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from forebay.errors import ConfigError, ForebayError
from forebay.front.ssdaq.component_settings import RawFile
from forebay.front.ssdaq.components import Component, Part, parse_components
from forebay.front.ssdaq.configuration import Publisher
from forebay.front.ssdaq.publisher import configured
from forebay.service import receiver_classes
from forebay.service.daemon import as_daemon, bind_to_cores
from forebay.service.daq_names import control_of
from forebay.service.file_writer import never_came, say_written, write_until
from forebay.service.host import abandoned_parts
from forebay.service.log_sender import logs_sent
from forebay.service.message_receiver import Outlet
from forebay.service.monitored import monitored
from forebay.service.process import log_to_stderr, say, stop_on_signal
from forebay.service.raw_file import RawWriter
from forebay.service.readout_control import default_control
from forebay.service.readout_report import hangup_stops, reporting, say_end
from forebay.service.receiver_classes import Receiver

Ready = Callable[[], None]


def main() -> None:
    """Run as ``python -m forebay.service.daq_daemons PART INSTANCE --fds=...``."""
    word, instance, fds = sys.argv[1], sys.argv[2], sys.argv[3].removeprefix("--fds=")
    with as_daemon(fds) as told:
        part: Part = "Writer" if word == "Writer" else "Receiver"
        (component,) = parse_components(sys.stdin.read(), part, "the configuration")
        told.remark = run(component, instance, told.ready)


def run(component: Component, instance: str, ready: Ready) -> str:
    """Run one until SIGTERM, SIGINT or SIGHUP; return what else is to be known of its work, mostly nothing.

    Parameters
    ----------
    ready:
        Called when it works.

    Raises
    ------
    ForebayError
        If it cannot start, or could not do all it should.
    """
    life = component.daemon
    log_to_stderr(component.name, logging.getLevelName(life.log_level))
    if life.set_taskset:
        bind_to_cores(life.cores)
    remark = ""
    with logs_sent(life.log_server, component.name):
        try:
            if component.part == "Writer":
                remark = _write(component, ready)
            elif component.kind == "ReadoutAssembler":
                _assemble(component, instance, ready)
            else:
                _receive(component, instance, ready)
        except ForebayError as error:
            say("failed", logging.ERROR, reason=error)
            raise
        say("ended")
    return remark


def _assemble(component: Component, instance: str, ready: Ready) -> None:
    from forebay.service.readout_server import SSReadoutAssembler

    life, settings = component.daemon, component.settings
    with ExitStack() as stack:
        publishers: list[Any] = []
        for name, one in component.publishers.items():
            if isinstance(one, RawFile):
                publishers.append(RawWriter(one.file_name, name))
            else:
                publishers.append(configured(name, one))
            stack.callback(publishers[-1].close)
        assembler = SSReadoutAssembler(
            **settings.model_dump(exclude={"name"}),
            publishers=publishers,
            control=life.control or default_control(instance),
        )
        ends = [f"{one.name}={one.endpoint} ({one.mode})" for one in publishers]
        say("assembling", port=assembler.port, publishers=", ".join(ends))

        def counts() -> tuple[int, Sequence[int]]:
            status = assembler.status()
            return status["receiver"]["datagrams"], status["datagrams_of_module"]

        with reporting(assembler.status), hangup_stops(), monitored(settings.name, life.monitor, counts):
            assembler.run(ready)
        say_end(assembler.status())


def _receive(component: Component, instance: str, ready: Ready) -> None:
    with ExitStack() as stack:
        outlets: list[Outlet] = []
        for name, one in component.publishers.items():
            outlets.append(_outlet(name, one))
            stack.callback(outlets[-1].close)
        control = component.daemon.control or control_of(component.name, instance)
        stack.enter_context(hangup_stops())
        _receiver(component, outlets, control).run(ready)


def _receiver(component: Component, outlets: Sequence[Outlet], control: str) -> Receiver:
    settings = component.settings.model_dump()
    settings |= {"publishers": outlets, "monitor": component.daemon.monitor, "control": control}
    match component.kind:
        case "TriggerPacketReceiver":
            return receiver_classes.TriggerPacketReceiver(**settings)
        case "TimestampReceiver":
            return receiver_classes.TimestampReceiver(**settings)
        case "LogReceiver":
            return receiver_classes.LogReceiver(**settings)
        case "MonitorReceiver":
            return receiver_classes.MonitorReceiver(**settings)
    if settings.pop("source") == "constant":
        settings["file"] = None
    elif settings["file"] is None:
        raise ConfigError(f"{component.name} has source: file, and no file.", "Name it: file: /path/to/it.")
    return receiver_classes.TelDataReceiver(**settings)


def _outlet(name: str, settings: Publisher | RawFile) -> Outlet:
    from forebay.stream.message_publisher import MessagePublisher

    if isinstance(settings, RawFile):
        return RawWriter(settings.file_name, name)
    topic = settings.topic.encode()
    named = settings.name or name
    return MessagePublisher(settings.ip, settings.port, settings.mode, name=named, topic=topic)


def _write(component: Component, ready: Ready) -> str:
    settings = component.settings
    writer = _writer(component)
    for part in abandoned_parts(settings.folder, f"{glob.escape(settings.file_prefix)}*"):
        say("a writer was killed before", logging.WARNING, recover=f"forebay recover {part}")
    say("writing", source=f"{settings.ip}:{settings.port}", folder=settings.folder)
    with hangup_stops(), stop_on_signal() as stop:
        write_until(stop, writer, say_written, ready)
    return never_came(writer.counters)


def _writer(component: Component) -> Any:
    from forebay.service import sof_writer
    from forebay.service.readout_successor import SSFileWriterB
    from forebay.store.readout_layout import ReadoutRecording

    one = component.settings
    where = (one.file_prefix, one.ip, one.port, one.folder, one.file_enumerator, one.filesize_lim)
    match component.kind.removeprefix("A"):
        case "LogWriter":
            return sof_writer.LogWriter(*where)
        case "TriggerWriter":
            return sof_writer.TriggerWriter(*where)
        case "TimestampWriter":
            return sof_writer.TimestampWriter(*where)
    telescope = None
    if one.telescope:
        host, _, port = one.telescope.rpartition(":")
        if not port.isdecimal():
            raise ConfigError(f"telescope {one.telescope!r} is not IP:PORT.", "Write 127.0.0.101:9006.")
        telescope = host, int(port)
    recording = ReadoutRecording(generation=one.generation, compression=one.compression)
    return SSFileWriterB(*where, recording=recording, telescope=telescope)


if __name__ == "__main__":
    try:
        main()
    except ForebayError:
        raise SystemExit(1) from None
