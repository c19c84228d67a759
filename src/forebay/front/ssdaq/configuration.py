"""The YAML of ``control-ssdaq``, read as it stands: defaults filled in, wrong keys named."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from forebay.config.base import Model, Port
from forebay.config.document import Document
from forebay.config.keys import keys_at
from forebay.errors import ConfigError

Level = Literal["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"]


def _cores(value: object) -> object:
    """Return core numbers of what ``taskset -c`` takes: ``0``, ``"0,4"``, ``"0-3"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if not isinstance(value, str):
        return value
    cores: list[int] = []
    for part in value.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise ValueError("write cores as 0 or 0,4 or 0-3")
        cores += range(int(first), int(last or first) + 1)
    return tuple(cores)


class Daemon(Model):
    """How a daemon lives.

    Attributes
    ----------
    set_taskset, cores:
        Whether the process is bound to cores, and to which.
    control:
        Endpoint of the control channel; empty for one in the runtime directory of this user.
    """

    stdout: Path = Path("/dev/null")
    stderr: Path = Path("/dev/null")
    set_taskset: bool = False
    cores: Annotated[tuple[int, ...], BeforeValidator(_cores)] = Field((0,), alias="core_id")
    log_level: Level = "INFO"
    control: str = ""


class Assembler(Model):
    """`SSReadoutAssembler`: times are in ns.

    Attributes
    ----------
    packet_debug_stream_file:
        Gets a line for each block: time tag, time of arrival, module; null for no file.
    modules:
        Address -> module, for networks of other habits; only these are modules if any is given.
    """

    listen_ip: str = "0.0.0.0"  # noqa: S104 - so the original's configuration says
    listen_port: Annotated[int, Field(ge=0, le=65535)] = 2009
    relaxed_ip_range: bool = False
    buffer_length: Annotated[int, Field(ge=1)] = 1000
    readout_tw: Annotated[float, Field(gt=0, lt=2**62)] = 1e7
    buffer_time: Annotated[float, Field(gt=0, lt=2**62)] = 4e9
    packet_debug_stream_file: Path | None = None
    modules: dict[str, int] = Field(default_factory=dict)


class Publisher(Model):
    """One publisher of readouts; `logger` is read and means nothing.

    Attributes
    ----------
    mode:
        ``local`` and ``outbound`` bind, ``remote`` connects to a listener that binds.
    generation:
        Whose message is sent.
    topic:
        A frame of its own before the message; none if empty.
    """

    ip: str
    port: Port
    mode: Literal["local", "outbound", "remote"] = "local"
    name: str = ""
    logger: Any = None
    generation: Literal["A", "B"] = "A"
    topic: str = ""


class Assembly(Model):
    """The assembler and its publishers, by name."""

    SSReadoutAssembler: Assembler = Assembler()
    ReadoutPublishers: dict[str, Publisher] = Field(
        default_factory=lambda: {"ZMQReadoutPublisherLocal": Publisher(ip="127.0.0.101", port=5555)}
    )

    @field_validator("ReadoutPublishers")
    @classmethod
    def _ends_differ(cls, publishers: dict[str, Publisher]) -> dict[str, Publisher]:
        owner: dict[tuple[str, int], str] = {}
        for name, one in publishers.items():
            other = owner.setdefault((one.ip, one.port), name)
            if other != name and one.mode != "remote" and publishers[other].mode != "remote":
                raise ValueError(f"{other} and {name} both publish at {one.ip}:{one.port}")
        return publishers


class FileWriter(Model):
    """`SSFileWriter`: whom it listens to and how it names its files.

    Attributes
    ----------
    filesize_lim:
        Length behind which the next file begins, MiB.
    """

    file_enumerator: Literal["date", "order", "none"] | None = "date"
    file_prefix: str = "SlowSignalData"
    folder: Path = Path("/tmp")  # noqa: S108 - so the original's configuration says
    ip: str = "127.0.0.101"
    port: Port = 5555
    filesize_lim: Annotated[float, Field(gt=0)] | None = None
    generation: Literal["A", "B"] = "A"
    compression: Literal["zlib", "bzip2", "none"] = "zlib"


def _log(name: str, **more: Any) -> Daemon:
    log = Path("/tmp") / name  # noqa: S108 - so the original's configuration says
    return Daemon(stdout=log, stderr=log, **more)


class SsdaqConfig(Model):
    """Everything that ``control-ssdaq`` starts; the defaults are the original's own file."""

    SSFileWriter: FileWriter = FileWriter()
    ReadoutFileWriterDaemon: Daemon = _log("ssdaq_writer.log")
    ReadoutAssemblerDaemon: Daemon = _log("ssdaq.log", set_taskset=True)
    ReadoutAssembler: Assembly = Assembly()


def read_config(path: Path | None) -> SsdaqConfig:
    """Read a configuration file over the defaults; None for the defaults alone.

    Sections and keys that the file does not have keep their defaults; publishers are the file's own as
    soon as it names one.

    Raises
    ------
    ConfigError
        If it cannot be read, is not YAML, or a key or value is not allowed; every one is named.
    """
    if path is None:
        return SsdaqConfig()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error}.", "Name a YAML file.") from error
    return parse_config(text, str(path))


def parse_config(text: str, origin: str) -> SsdaqConfig:
    """Read a configuration that was read from `origin`; `ConfigError` as in `read_config`."""
    return checked(Document(text, origin), origin)


def checked(document: Document, origin: str, value: Any = None) -> SsdaqConfig:
    """Return the configuration that `value` is, as a rule what the document says, over the defaults."""
    value = document.value if value is None else value
    if not isinstance(value, Mapping):
        sections = ", ".join(SsdaqConfig.model_fields)
        raise ConfigError(f"{origin} is {value!r}, and no sections.", f"Sections are {sections}.")
    value = merged(SsdaqConfig().model_dump(mode="json", by_alias=True), value)
    try:
        return SsdaqConfig.model_validate(value)
    except ValidationError as error:
        said = []
        for problem in error.errors():
            line = document.line_of(problem["loc"]) or document.line_of(problem["loc"][:-1])
            said.append((f"line {line}: " if line else "") + _say(problem["loc"], dict(problem)))
        raise ConfigError(f"{origin}: {'; '.join(said)}.", "Mend the file.") from error


def merged(defaults: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `defaults` with what was given in their place, key by key."""
    out = dict(defaults)
    for key, value in given.items():
        below = out.get(key)
        if value is None and isinstance(below, dict):
            continue  # a section whose keys are all commented out
        if isinstance(below, dict) and isinstance(value, Mapping) and key != "ReadoutPublishers":
            out[key] = merged(below, value)
        else:
            out[key] = value
    return out


def _say(place: tuple[str | int, ...], problem: dict[str, Any]) -> str:
    where = ".".join(map(str, place)) or "the file"
    if problem["type"] == "extra_forbidden":
        keys = ["core_id" if key == "cores" else key for key in keys_at(SsdaqConfig, place[:-1])]
        near = get_close_matches(str(place[-1]), keys, n=1)
        return f"{where} is not a known key" + (f" (is {near[0]} meant?)" if near else "")
    found = "" if isinstance(problem["input"], Mapping) else f" (found {problem['input']!r})"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}"
