"""Configuration of one host: everything that it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from forebay.config.base import Model, Name, SecretUrl
from forebay.config.bsread import BsreadConfig
from forebay.config.camera import CameraConfig
from forebay.config.control import ApiConfig, QuotaConfig, WorkersConfig, default_state_dir
from forebay.config.detector import DetectorConfig
from forebay.config.epics import EpicsConfig
from forebay.config.inlet import InletConfig
from forebay.config.larpix import BoardsConfig
from forebay.config.record import RecordConfig
from forebay.config.routine import RoutineConfig


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
    bsread: dict[Name, BsreadConfig] = Field(
        default_factory=dict, description="Beam-synchronous streams that this host buffers, by name."
    )
    cameras: dict[Name, CameraConfig] = Field(
        default_factory=dict, description="Cameras with time tags that this host receives, by name."
    )
    inlets: dict[Name, InletConfig] = Field(
        default_factory=dict,
        description="Other streams of cameras that this host takes in and publishes, by name.",
    )
    boards: dict[Name, BoardsConfig] = Field(
        default_factory=dict, description="Sets of PACMAN boards that this host reads out, by name."
    )
    record: RecordConfig = Field(RecordConfig(), description="Where files go.")
    bus: SecretUrl = Field(
        "embedded",
        pattern=r"^(embedded|amqps?://.+)$",
        description="How requests travel: embedded (this host), or amqp://user:password@host,host/vhost.",
    )
    catalog: SecretUrl = Field(
        "sqlite",
        pattern=r"^(sqlite|postgresql://.+)$",
        description="Where runs are booked: sqlite (below state_dir), or postgresql://user:password@host/name.",
    )
    workers: WorkersConfig = Field(WorkersConfig(), description="How many jobs are carried out at once.")
    routines: dict[Name, RoutineConfig] = Field(
        default_factory=dict, description="Functions that may be asked for, by name."
    )
    quotas: QuotaConfig = Field(
        QuotaConfig(), description="What one request may ask for, and how many may wait."
    )
    api: ApiConfig | None = Field(None, description="The REST interface, if there is to be one.")
    state_dir: Path = Field(
        default_factory=default_state_dir, description="Durable state: bus journal, catalogue, tokens."
    )
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
        for name, camera in self.cameras.items():
            key = (str(camera.address), camera.port)
            if key in owner:
                raise ValueError(f"{owner[key]} and camera {name} both use UDP port {key[1]} of {key[0]}")
            owner[key] = f"camera {name}"
        ports: dict[int, str] = {}
        for name, stream in self.bsread.items():
            if stream.output_port in ports:
                other = ports[stream.output_port]
                raise ValueError(f"bsread {other} and {name} both use output_port {stream.output_port}")
            ports[stream.output_port] = name
        taken: dict[tuple[str, int], str] = {}
        for name, inlet in self.inlets.items():
            for one in inlet.outlets:
                end = (str(one.address), one.port)
                if taken.setdefault(end, name) != name and one.mode != "remote":
                    raise ValueError(f"inlets {taken[end]} and {name} both publish at {end[0]}:{end[1]}")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        """Streams, cameras and boards are sources of jobs by their name alone."""
        known = dict.fromkeys(self.detectors, "detectors") | dict.fromkeys(self.epics, "epics")
        sections = (("bsread", self.bsread), ("cameras", self.cameras), ("boards", self.boards))
        for section, names in sections:
            for name in names:
                if name in known:
                    raise ValueError(
                        f"{known[name]} and {section} both have {name}; name sources differently"
                    )
                known[name] = section
        return self
