"""The readout assembler and the data writer as processes, in the background or not."""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack

from forebay.errors import ForebayError
from forebay.front.ssdaq.configuration import Daemon, SsdaqConfig, parse_config
from forebay.front.ssdaq.publisher import configured
from forebay.service.daemon import as_daemon, bind_to_cores
from forebay.service.host import abandoned_parts
from forebay.service.process import log_to_stderr, say, stop_on_signal
from forebay.service.readout_classes import SSFileWriter
from forebay.service.readout_control import default_control, instance_name
from forebay.service.readout_report import hangup_stops, reporting, say_end
from forebay.service.readout_server import SSReadoutAssembler
from forebay.store.readout_layout import ReadoutRecording

KINDS = ("roa", "dw")
"""Readout assembler and data writer."""

_POLL_S = 0.1

Ready = Callable[[], None]


def main() -> None:
    """Run as ``python -m forebay.service.readout_daemons KIND INSTANCE --fds=...``."""
    kind, instance, fds = sys.argv[1], sys.argv[2], sys.argv[3].removeprefix("--fds=")
    with as_daemon(fds) as told:
        run(kind, parse_config(sys.stdin.read(), "the configuration"), instance, told.ready)


def run(kind: str, config: SsdaqConfig, instance: str, ready: Ready) -> None:
    """Run one until SIGTERM, SIGINT or SIGHUP; `ready` is called when it works.

    Raises
    ------
    ForebayError
        If it cannot start, or could not do all it should.
    """
    life = config.ReadoutAssemblerDaemon if kind == "roa" else config.ReadoutFileWriterDaemon
    log_to_stderr(instance_name(kind, instance), logging.getLevelName(life.log_level))
    if life.set_taskset:
        bind_to_cores(life.cores)
    try:
        if kind == "roa":
            _assemble(config, life, instance, ready)
        else:
            _write(config, ready)
    except ForebayError as error:
        say("failed", logging.ERROR, reason=error)
        raise
    say("ended")


def _assemble(config: SsdaqConfig, life: Daemon, instance: str, ready: Ready) -> None:
    settings = config.ReadoutAssembler.SSReadoutAssembler
    with ExitStack() as stack:
        publishers = []
        for name, one in config.ReadoutAssembler.ReadoutPublishers.items():
            publishers.append(configured(name, one))
            stack.callback(publishers[-1].close)
        assembler = SSReadoutAssembler(
            **settings.model_dump(),
            publishers=publishers,
            control=life.control or default_control(instance),
        )
        ends = [f"{one.name}={one.endpoint} ({one.mode})" for one in publishers]
        say("assembling", port=assembler.port, publishers=", ".join(ends))
        with reporting(assembler.status), hangup_stops():
            assembler.run(ready)
        say_end(assembler.status())


def _write(config: SsdaqConfig, ready: Ready) -> None:
    settings = config.SSFileWriter
    writer = SSFileWriter(
        settings.file_prefix,
        settings.ip,
        settings.port,
        settings.folder,
        settings.file_enumerator,
        settings.filesize_lim,
        recording=ReadoutRecording(generation=settings.generation, compression=settings.compression),
    )
    for part in abandoned_parts(settings.folder, f"{glob.escape(settings.file_prefix)}*"):
        say("a writer was killed before", logging.WARNING, recover=f"forebay recover {part}")
    say("writing", source=f"{settings.ip}:{settings.port}", folder=settings.folder)
    with hangup_stops(), stop_on_signal() as stop:
        writer.start()
        ready()
        while not stop.wait(_POLL_S) and writer.is_alive():
            pass
        try:
            writer.close()
        finally:
            say("written", files=", ".join(map(str, writer.paths)) or "none", **writer.counters)


if __name__ == "__main__":
    try:
        main()
    except ForebayError:
        raise SystemExit(1) from None
