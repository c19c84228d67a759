"""Configuration: one typed value, read once, checked once."""

from __future__ import annotations

import os
from difflib import get_close_matches
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from forebay.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Names of detectors and streams: they become file names, dataset names and socket names."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    """Base of every configuration value: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RingConfig(Model):
    """Shared memory of one detector."""

    slots: int = Field(256, ge=4, le=1_000_000, description="Pulses that the ring remembers.")


class BuildConfig(Model):
    """When an event is released although something may still come."""

    pulse_step: int = Field(1, ge=1, description="Distance of neighbouring pulse ids.")
    patience: int = Field(
        32, ge=1, description="Newer pulses that may be open before the oldest is released."
    )
    deadline_s: float = Field(
        0.5, gt=0, le=60, description="Longest wait for a pulse, from its first packet."
    )
    max_jump: int = Field(
        10_000, ge=1, description="Largest plausible step forward within one deadline, in pulse steps."
    )


class LiveConfig(Model):
    """A live view: the newest image only, at most so often."""

    endpoint: str = Field("tcp://127.0.0.1:9400", description="ZeroMQ endpoint that is bound.")
    rate_hz: float = Field(10.0, gt=0, le=1000, description="Most images a second.")


class StreamConfig(Model):
    """Events for other processes: by reference over ipc://, with their pixels over tcp://."""

    endpoint: str = Field(description="ZeroMQ endpoint: bound by publish, connected to by push.")
    kind: Literal["publish", "push"] = Field(
        "publish", description="publish: for eyes, never waits. push: for one reader that may lose nothing."
    )
    compressed: bool = Field(False, description="Send images as bitshuffle-LZ4.")


class DetectorConfig(Model):
    """One detector: its packet table and where its modules send."""

    type: Literal["jungfrau", "eiger"] = Field(description="Which packet table.")
    pulse_id: Literal["bunchid", "bunchid-int64", "framenum"] | None = Field(
        None, description="JUNGFRAU: header field with the pulse id; bunchid by default."
    )
    bit_depth: Literal[8, 16, 32] = Field(16, description="EIGER: bits a pixel.")
    n_modules: int = Field(1, ge=1, le=64, description="Modules, each with a port of its own.")
    address: IPv4Address = Field(
        IPv4Address("127.0.0.1"), description="Local address the ports are bound to."
    )
    start_udp_port: Port = Field(50_100, description="Module i sends to port start_udp_port + i.")
    sources: list[IPv4Address] = Field(
        default_factory=list, description="Sender's address of each module; packets of others are foreign."
    )
    module_ids: list[Annotated[int, Field(ge=0, lt=2**16)]] = Field(
        default_factory=list, description="What each module's header calls itself; others are foreign."
    )
    receive_buffer_bytes: int = Field(64 * 2**20, ge=2**16, description="Socket buffer of one port.")
    ring: RingConfig = Field(RingConfig(), description="Its shared memory.")
    build: BuildConfig = Field(BuildConfig(), description="When its events are released.")
    live: LiveConfig | None = Field(None, description="Its live view, if there is to be one.")
    streams: list[StreamConfig] = Field(
        default_factory=list, max_length=16, description="Where its events are sent."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.start_udp_port + self.n_modules - 1 > 65535:
            raise ValueError(
                f"start_udp_port {self.start_udp_port} + {self.n_modules} modules passes port 65535"
            )
        if self.sources and len(self.sources) != self.n_modules:
            raise ValueError(f"sources has {len(self.sources)} addresses for {self.n_modules} modules")
        if self.module_ids and len(self.module_ids) != self.n_modules:
            raise ValueError(f"module_ids has {len(self.module_ids)} numbers for {self.n_modules} modules")
        if self.pulse_id is not None and self.type != "jungfrau":
            raise ValueError(f"pulse_id is a choice of JUNGFRAU only, not of {self.type}")
        return self


PvName = Annotated[str, Field(pattern=r"^((ca|pva)://)?[!-~]{1,500}$")]
"""Names of process variables: ``X`` or ``ca://X`` by Channel Access, ``pva://X`` by pvAccess."""


class EpicsConfig(Model):
    """Process variables that are buffered on disk."""

    pvs: list[PvName] = Field(description="Names; ca://X (or X) by Channel Access, pva://X by pvAccess.")
    pulse_id_pv: PvName | None = Field(
        None, description="The PV whose value is the pulse id; it is buffered whether named in pvs or not."
    )
    archive_deadband: bool = Field(
        False, description="Take also what the archive deadband of a record lets through."
    )
    long_strings: list[PvName] = Field(
        default_factory=list, description="Those of pvs that are character waveforms holding text."
    )
    directory: Path = Field(description="Where the buffer lies; local, and nothing else in it.")
    max_bytes: int = Field(10 * 2**30, ge=2**24, description="Bytes of values that are kept.")
    max_age_s: float | None = Field(86_400.0, gt=0, description="How long values are kept.")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        twice = (
            {name for name in self.pvs if self.pvs.count(name) > 1}
            if len(set(self.pvs)) < len(self.pvs)
            else ()
        )
        if twice:
            raise ValueError(f"pvs names {', '.join(sorted(twice))} more than once")
        if unknown := set(self.long_strings) - set(self.pvs):
            raise ValueError(f"long_strings names {', '.join(sorted(unknown))}, and pvs does not")
        return self

    @property
    def names(self) -> list[str]:
        """All names, that of the pulse-id PV included."""
        extra = [self.pulse_id_pv] if self.pulse_id_pv and self.pulse_id_pv not in self.pvs else []
        return [*self.pvs, *extra]


class RecordConfig(Model):
    """Where files go and how they are written."""

    directory: Path = Field(
        Path("data"), description="Files are written below this directory, never elsewhere."
    )
    threads: int = Field(2, ge=1, le=64, description="Threads that compress.")
    compression: Literal["bitshuffle-lz4", "none"] = Field(
        "bitshuffle-lz4", description="How images are stored: HDF5 filter 32008, or as they are."
    )
    min_free_bytes: int = Field(2**30, ge=0, description="A recording is refused below this free space.")


def default_runtime_dir() -> Path:
    """Return the directory for sockets: ``FOREBAY_RUNTIME_DIR``, else one of this user's own."""
    if named := os.environ.get("FOREBAY_RUNTIME_DIR"):
        return Path(named)
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "forebay"
    return Path("/tmp") / f"forebay-{os.getuid()}"  # noqa: S108 - made 0700 and its owner checked


class Config(Model):
    """Everything that one host runs."""

    detectors: dict[Name, DetectorConfig] = Field(
        default_factory=dict, description="Detectors that this host receives, by name."
    )
    epics: dict[Name, EpicsConfig] = Field(
        default_factory=dict, description="Process variables that this host buffers, by name of the buffer."
    )
    record: RecordConfig = Field(RecordConfig(), description="Where files go.")
    runtime_dir: Path = Field(default_factory=default_runtime_dir, description="Sockets between processes.")

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        owner: dict[tuple[str, int], str] = {}
        for name, detector in self.detectors.items():
            for i_module in range(detector.n_modules):
                key = (str(detector.address), detector.start_udp_port + i_module)
                if key in owner:
                    raise ValueError(
                        f"detectors {owner[key]} and {name} both use UDP port {key[1]} of {key[0]}"
                    )
                owner[key] = name
        return self


def load(path: Path) -> Config:
    """Read a YAML configuration.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, or a key or value is not allowed; every wrong key is
        named with its value and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error})"
        raise ConfigError(
            f"Cannot read the configuration {path}: {reason}.", "Name the YAML file that describes this host."
        ) from error
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_say_where(error)}.") from error
    return parse(value if value is not None else {}, str(path))


def parse(value: object, origin: str) -> Config:
    """Check a configuration that was read from `origin`; `ConfigError` as in `load`."""
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: " + "; ".join(_say(e) for e in error.errors()) + ".") from error


def _say_where(error: yaml.YAMLError) -> str:
    """Return what the parser says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _say(problem: object) -> str:
    assert isinstance(problem, dict)
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        known = {name for model in Model.__subclasses__() for name in model.model_fields}
        near = get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"{where} is not a known key" + (f" (is {near[0]} meant?)" if near else "")
    found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}"
