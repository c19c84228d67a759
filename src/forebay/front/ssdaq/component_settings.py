"""What can be set of the receivers and writers of SSDAQ 0.9, with the defaults of its own files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from forebay.config.base import Model, Port
from forebay.front.ssdaq.configuration import Assembler, Daemon

LOCAL = "127.0.0.101"
_ANY = "0.0.0.0"  # noqa: S104 - so the original's configuration says
_TMP = Path("/tmp")  # noqa: S108 - so the original's configuration says

AnyPort = Annotated[int, Field(ge=0, le=65535)]


class ComponentDaemon(Daemon):
    """How a receiver or writer lives.

    Attributes
    ----------
    monitor:
        Where it tells once a second how it is; empty for nowhere. So for receivers only.
    log_server:
        IP:PORT to which it sends its log records besides, for the log receiver; empty for nowhere.
    """

    monitor: str = f"tcp://{LOCAL}:10002"
    log_server: str = "127.0.0.1:10001"


class AssemblerSettings(Assembler):
    """`ReadoutAssembler`: the slow signals; `name` is how monitoring knows it, here and below."""

    name: str = "ReadoutAssembler"
    listen_port: AnyPort = 17000
    readout_tw: Annotated[float, Field(gt=0, lt=2**62)] = 5.1e7
    buffer_time: Annotated[float, Field(gt=0, lt=2**62)] = 1e9


class TriggerSettings(Model):
    """`TriggerPacketReceiver`: trigger patterns by UDP."""

    name: str = "TriggerPacketReceiver"
    ip: str = _ANY
    port: AnyPort = 8307


class TimestampSettings(Model):
    """`TimestampReceiver`: where the timing board publishes bunches of triggers."""

    name: str = "TimestampReceiver"
    ip: str = "192.168.101.102"
    port: Port = 6666


class LogSettings(Model):
    """`LogReceiver`: log records by TCP; of this host alone, where the original takes those of all."""

    name: str = "LogReceiver"
    ip: str = "127.0.0.1"
    port: AnyPort = 10001


class MonitorSettings(Model):
    """`MonitorReceiver`: where all receivers tell how they are; on loopback, as they look for it there."""

    name: str = "MonitorReceiver"
    ip: str = LOCAL
    port: AnyPort = 10002


class TelescopeSettings(Model):
    """`TelDataReceiver`: where the telescope points to.

    Attributes
    ----------
    ip, port:
        Read and not used, as in the original.
    source:
        ``constant``: always `ra` and `dec`. ``file``: the lines of `file`, one JSON object each with ``ra``,
        ``dec`` and, unless it is the time of reading, ``time`` in seconds since 1970 UTC.
    period_s:
        A constant is published so often, a file looked at.
    """

    name: str = "TelDataReceiver"
    ip: str = LOCAL
    port: AnyPort = 10002
    source: Literal["constant", "file"] = "constant"
    ra: float = 0.322
    dec: float = -0.24
    file: Path | None = None
    period_s: Annotated[float, Field(gt=0)] = 15.0


class RawFile(Model):
    """`RawWriter`, in the place of a publisher: messages at the end of a file, one behind the other."""

    file_name: Path


def _enumeration(value: object) -> object:
    return "none" if value in (None, "None") else value  # so the original's files write it


class WriterSettings(Model):
    """A writer: whom it listens to and how it names its files.

    Attributes
    ----------
    filesize_lim:
        Length behind which the next file begins, MiB.
    """

    file_enumerator: Annotated[Literal["date", "order", "none"], BeforeValidator(_enumeration)] = "none"
    file_prefix: str = ""
    folder: Path = _TMP
    ip: str = LOCAL
    port: Port = 9004
    filesize_lim: Annotated[float, Field(gt=0)] | None = None


class SlowSignalSettings(WriterSettings):
    """A writer of readouts.

    Attributes
    ----------
    telescope:
        IP:PORT of what `TelDataReceiver` publishes, for the table of where the telescope pointed; empty for
        none of it.
    """

    file_prefix: str = "SlowSignalData"
    generation: Literal["A", "B"] = "B"
    compression: Literal["zlib", "bzip2", "none"] = "zlib"
    telescope: str = ""


class PointingSlowSignalSettings(SlowSignalSettings):
    """`ASlowSignalWriter`: it also writes where the telescope pointed."""

    telescope: str = f"{LOCAL}:9006"


class LogWriterSettings(WriterSettings):
    """A writer of log records."""

    file_prefix: str = "Log"
    port: Port = 9001


class TriggerWriterSettings(WriterSettings):
    """A writer of trigger patterns."""

    file_prefix: str = "TriggerPackets"
    port: Port = 9002


class TimestampWriterSettings(WriterSettings):
    """A writer of time stamps."""

    file_prefix: str = "Timestamps"
    port: Port = 9003


RECEIVERS: dict[str, tuple[type[Model], str, int]] = {
    "ReadoutAssembler": (AssemblerSettings, "ssdaq.log", 9004),
    "LogReceiver": (LogSettings, "logrec.log", 9001),
    "TriggerPacketReceiver": (TriggerSettings, "triggrec.log", 9002),
    "TimestampReceiver": (TimestampSettings, "timerec.log", 9003),
    "MonitorReceiver": (MonitorSettings, "monrec.log", 9005),
    "TelDataReceiver": (TelescopeSettings, "teldata.log", 9006),
}
"""Class -> settings, name of its log, port at which it publishes."""

WRITERS: dict[str, type[WriterSettings]] = {
    "SSFileWriter": SlowSignalSettings,
    "ASlowSignalWriter": PointingSlowSignalSettings,
    "LogWriter": LogWriterSettings,
    "TriggerWriter": TriggerWriterSettings,
    "ATriggerWriter": TriggerWriterSettings,
    "TimestampWriter": TimestampWriterSettings,
    "ATimestampWriter": TimestampWriterSettings,
}
"""Class -> settings."""

SAME = {"SSReadoutAssembler": "ReadoutAssembler"}
"""Other names of classes."""
