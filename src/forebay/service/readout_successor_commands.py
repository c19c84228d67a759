"""The dumpers and writers of SSDAQ 0.9: ``chec-slowsig-dumper``, ``chec-trigger-writer`` and their like."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from forebay.errors import WireError
from forebay.front.ssdaq.arguments import LEVELS, LOCAL_IP
from forebay.front.ssdaq.records import LogData, MonitorData, TelData, TriggerMessage
from forebay.service.file_writer import FileWriter, print_written, write_until
from forebay.service.process import carry_out, log_to_stderr, stop_on_signal
from forebay.service.readout_successor import SSFileWriterB
from forebay.service.sof_writer import LogWriter, TimestampWriter, TriggerWriter
from forebay.stream.messages import MessageListener
from forebay.wire import frame, ssreadout, trigger
from forebay.wire.sof import Kind

_POLL_S = 0.1

PORTS: Mapping[str, int] = {
    "log": 9001,
    "trigger": 9002,
    "timestamp": 9003,
    "slowsig": 9004,
    "mon": 9005,
    "tel": 9006,
}
"""Where each stream is published."""


def _slowsig(message: bytes) -> dict[str, Any]:
    (one,) = ssreadout.decode([message])
    modules = [i for i, there in enumerate(ssreadout.present(one[None])[0].tolist()) if there]
    return {"iro": int(one["number"]), "time": int(one["time_ns"]), "modules": modules}


def _trigger(message: bytes) -> dict[str, Any]:
    one = trigger.decode(message)
    return {
        "type": one.type,
        "TACK": one.time_ns,
        "count": one.count,
        "pps": one.pps,
        "clock": one.clock,
        "busy": one.is_busy,
        "fired": one.union.nonzero()[0].tolist(),
    }


_SHOWN: Mapping[str, Callable[[bytes], Mapping[str, Any]]] = {
    "slowsig": _slowsig,
    "trigger": _trigger,
    "timestamp": TriggerMessage.unpack,
    "log": LogData.unpack,
    "mon": MonitorData.unpack,
    "tel": TelData.unpack,
}
_SHOWN_OF_KIND: Mapping[int, str] = {Kind.LOG: "log", Kind.TIMESTAMP: "timestamp", Kind.TRIGGER: "trigger"}
_WRITERS: Mapping[str, Callable[..., FileWriter]] = {
    "slowsig": SSFileWriterB,
    "aslowsig": partial(SSFileWriterB, telescope=(LOCAL_IP, PORTS["tel"])),
    "trigger": TriggerWriter,
    "timestamp": TimestampWriter,
    "log": LogWriter,
}


def stream_parser(name: str, text: str, port: int) -> argparse.ArgumentParser:
    """Return a command line with what all commands of a stream have: -l, -i, -V and -v."""
    parser = argparse.ArgumentParser(name, description=text)
    parser.add_argument("-l", "--listen-port", type=int, default=port, help="Port of the publisher")
    parser.add_argument("-i", "--listen-ip", default=LOCAL_IP, help="Its address; 0.0.0.0 binds")
    parser.add_argument(
        "-V", "--verbose", nargs="?", const="DEBUG", default="INFO", type=str.upper, choices=LEVELS
    )
    parser.add_argument("-v", "--version", action="version", version=_version())
    return parser


def _version() -> str:
    from forebay import __version__

    return f"forebay {__version__}"


def dump(stream: str) -> NoReturn:
    """Print every message of a stream as a line of JSON until Ctrl-C."""
    parser = stream_parser(f"chec-{stream}-dumper", f"Print the {stream} stream.", PORTS[stream])
    parser.add_argument("-n", type=int, dest="count", help="End after so many messages")
    asked = parser.parse_args()
    carry_out(parser.prog, lambda: _dump(asked, _SHOWN[stream]))


def _dump(asked: argparse.Namespace, shown: Callable[[bytes], Mapping[str, Any]]) -> None:
    listener = MessageListener(asked.listen_ip, asked.listen_port)
    n = 0
    try:
        with stop_on_signal() as stop:
            while not stop.is_set() and (asked.count is None or n < asked.count):
                messages = listener.read(_POLL_S)
                if asked.count is not None:
                    messages = messages[: asked.count - n]
                for line in _lines(messages, shown):
                    print(line, flush=True)
                n += len(messages)
    finally:
        listener.close()


def shown_of_kind(message: bytes, kind: int) -> Mapping[str, Any]:
    """Return an object of a container as the dumpers show it, ready for JSON."""
    try:
        if kind == Kind.FRAME:
            return {part.key: {"class": part.kind, "bytes": len(part.data)} for part in frame.decode(message)}
        if kind not in _SHOWN_OF_KIND:
            return {"bytes": message.hex()}
        return _SHOWN[_SHOWN_OF_KIND[kind]](message)
    except WireError as error:
        return {"malformed": str(error)}


def _lines(messages: Iterable[bytes], shown: Callable[[bytes], Mapping[str, Any]]) -> Iterable[str]:
    for message in messages:
        try:
            yield json.dumps(shown(message))
        except WireError as error:
            yield json.dumps({"malformed": str(error)})


def write(stream: str) -> NoReturn:
    """Write a stream to files until Ctrl-C."""
    parser = stream_parser(
        f"chec-{stream}-writer", f"Write the {stream} stream to files.", PORTS[stream.removeprefix("a")]
    )
    parser.add_argument("prefix", metavar="PREFIX", help="What file names begin with")
    asked = parser.parse_args()
    log_to_stderr(parser.prog, logging.getLevelName(asked.verbose))
    carry_out(parser.prog, lambda: _write(asked, _WRITERS[stream]))


def _write(asked: argparse.Namespace, writer: Callable[..., FileWriter]) -> None:
    prefix = Path(asked.prefix)
    one = writer(prefix.name, asked.listen_ip, asked.listen_port, prefix.parent, "date")
    with stop_on_signal() as stop:
        write_until(stop, one, print_written)


slowsig_dumper = partial(dump, "slowsig")
trigger_dumper = partial(dump, "trigger")
timestamp_dumper = partial(dump, "timestamp")
log_dumper = partial(dump, "log")
mon_dumper = partial(dump, "mon")
tel_dumper = partial(dump, "tel")
slowsig_writer = partial(write, "slowsig")
aslowsig_writer = partial(write, "aslowsig")
trigger_writer = partial(write, "trigger")
timestamp_writer = partial(write, "timestamp")
log_writer = partial(write, "log")
