"""The command lines of ``control-ssdaq``, ``ssdaq``, ``ssdatawriter`` and ``ss-example-listener``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")
LOCAL_IP = "127.0.0.101"
"""Where the original publishes unless told otherwise."""

INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
"""Names of instances."""


def control_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``control-ssdaq``; exits with 2 and a message if it is wrong.

    ``command`` is start, stop, restart, status or roa-ctrl; ``what`` is roa, dw or daq (the receivers of
    SSDAQ 0.9), or the word for the assembler. ``names`` are what the names of components begin with,
    ``config`` is a file of either.
    """
    parser = argparse.ArgumentParser(
        "control-ssdaq", description="Start, stop and control ssdaq receivers and writers as daemons"
    )
    parser.add_argument("-v", "--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    start = commands.add_parser("start", help="Start a readout assembler or writer")
    restart = commands.add_parser("restart", help="Stop, then start as a daemon")
    stop = commands.add_parser("stop", help="Stop a running readout assembler or writer")
    status = commands.add_parser("status", help="Say how receivers are")
    control = commands.add_parser(
        "roa-ctrl", help="Send control commands to a running readout assembler daemon"
    )
    for begin in (start, restart):
        kinds = begin.add_subparsers(dest="what", metavar="COMMAND", required=True)
        for what, text in (
            ("roa", "a readout assembler"),
            ("dw", "a data writer"),
            ("daq", "the receivers of SSDAQ 0.9, as daemons"),
        ):
            one = kinds.add_parser(what, help=f"Start {text}")
            _words(one, what)
            one.add_argument(
                "-d",
                "--daemon",
                action=argparse.BooleanOptionalAction,
                default=what == "daq" or begin is restart,
                help="Run in the background",
            )
            _instance(one)
            if what == "dw":
                one.add_argument("-f", "--filename-prefix", metavar="P", help="What file names begin with")
                one.add_argument("-o", "--output-folder", type=Path, metavar="D", help="Where files go")
                one.add_argument("-l", "--list", action="store_true", help="Only list the writers")
    kinds = stop.add_subparsers(dest="what", metavar="COMMAND", required=True)
    for what in ("roa", "dw", "daq"):
        one = kinds.add_parser(what, help="Stop it; what is in flight is drained first")
        if what != "roa":
            one.add_argument("names", nargs="*", metavar="NAME-PREFIX", help="Which; all without any")
            one.add_argument("-c", "--config", type=Path, metavar="CONF", help="Read and not used")
        one.add_argument("--timeout", type=float, default=60.0, help="Longest wait in seconds")
        _instance(one)
    kinds = status.add_subparsers(dest="what", metavar="COMMAND", required=True)
    one = kinds.add_parser("daq", help="Say what each receiver that runs has received and published")
    one.add_argument("names", nargs="*", metavar="NAME-PREFIX", help="Which; all without any")
    one.add_argument("--json", action="store_true", help="Print JSON")
    _instance(one)
    kinds = control.add_subparsers(dest="what", metavar="COMMAND", required=True)
    for what, text in (
        ("reset-count", "Let the next readout be number 1"),
        ("pause-pub", "Pause readout publishing"),
        ("restart-pub", "Go on publishing"),
        ("status", "Say what was received, assembled and published, and what was lost"),
    ):
        one = kinds.add_parser(what, help=text)
        _instance(one)
        one.add_argument("--control", default="", help="Endpoint, if the configuration names one")
        if what == "status":
            one.add_argument("--json", action="store_true", help="Print JSON")
    return _sorted_out(parser.parse_args(words))


def _words(parser: argparse.ArgumentParser, what: str) -> None:
    """Let CONFIG be a file in 0.7's form; with -c the words are names of components, as in 0.9."""
    parser.add_argument("-c", "--config", type=Path, metavar="CONF", help="YAML file")
    text, name = {
        "roa": ("YAML file", "CONFIG"),
        "dw": ("YAML file, or which writers of SSDAQ 0.9", "CONFIG|NAME-PREFIX"),
        "daq": ("Which; all without any", "NAME-PREFIX"),
    }[what]
    parser.add_argument("words", nargs="?" if what == "roa" else "*", default=[], metavar=name, help=text)


def _sorted_out(asked: argparse.Namespace) -> argparse.Namespace:
    """Tell the file among the words from names."""
    words = getattr(asked, "words", None)
    if words is None:
        return asked
    names = [words] if isinstance(words, str) else list(words)
    is_file = names and asked.what != "daq" and (asked.what == "roa" or _is_file(names[0]))
    if asked.config is None and is_file:
        asked.config = Path(names.pop(0))
    asked.names = names
    return asked


def _is_file(word: str) -> bool:
    return "/" in word or word.endswith((".yaml", ".yml")) or Path(word).is_file()


def _version() -> str:
    from forebay import __version__

    return f"forebay {__version__}"


def ssdaq_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``ssdaq``."""
    parser = _with_defaults("ssdaq", "Assemble slow-signal readouts and publish them, until Ctrl-C.")
    parser.add_argument("-l", "--listen-port", type=_port, default=2009, help="UDP port of the modules")
    parser.add_argument("-p", "--publishing-port", type=_port, default=5555, help="Port of the readouts")
    parser.add_argument("-i", "--publishing-interface", default=LOCAL_IP, help="Address of the readouts")
    parser.add_argument("-r", "--relaxed-ip", action="store_true", help="Take module numbers modulo 32")
    _verbose(parser)
    return parser.parse_args(words)


def writer_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``ssdatawriter``."""
    parser = _with_defaults("ssdatawriter", "Write published readouts to files, until yes or Ctrl-C.")
    _publisher(parser)
    parser.add_argument("filename", metavar="FILENAME", help="What file names begin with")
    _verbose(parser)
    return parser.parse_args(words)


def listener_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``ss-example-listener``."""
    parser = _with_defaults("ss-example-listener", "Print published readouts, until Ctrl-C.")
    _publisher(parser)
    parser.add_argument(
        "-t", "--tm", type=int, choices=range(32), metavar="TM", help="Print the amplitudes of this module"
    )
    parser.add_argument("-n", "--n-readouts", type=int, metavar="N", help="End after so many")
    _verbose(parser)
    return parser.parse_args(words)


def _with_defaults(name: str, text: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        name, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )


def _publisher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-l", "--listen-port", type=_port, default=5555, help="Port of the publisher")
    parser.add_argument("-i", "--listen-ip", default=LOCAL_IP, help="Its address; 0.0.0.0 binds")


def _verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-V",
        "--verbose",
        nargs="?",
        const="DEBUG",
        default="INFO",
        type=str.upper,
        choices=LEVELS,
        help="What is logged; DEBUG if nothing follows",
    )


def _instance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instance",
        type=_name,
        default="",
        metavar="NAME",
        help="Which one, if this host has several (or environment variable SSDAQ_INSTANCE)",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return int(text)


def _name(text: str) -> str:
    if text and not INSTANCE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: letters, digits, '.', '_' and '-'")
    return text
