"""Configuration of sets of PACMAN boards (LArPix), and of the files that their words go to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from forebay.config.base import Model, Port
from forebay.config.control import ApiConfig

Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")]

LAYOUT_KEY: Final = r"^(\*|0|[1-9][0-9]{0,2})(/(\*|[1-9][0-9]?))?$"
"""GROUP or GROUP/TILE, each a number or ``*`` for any."""

LayoutKey = Annotated[str, Field(pattern=LAYOUT_KEY)]


class BoardConfig(Model):
    """One PACMAN board."""

    io_group: int = Field(ge=1, le=254, description="Io group of the chips behind it.")
    host: Host = Field("127.0.0.1", description="Name or address of the board.")
    port: int = Field(
        5555, ge=1, le=65534, description="TCP port of its commands; data come from the port above."
    )
    asic: Literal["1", "2", "2b", "lightpix-1", "3"] = Field("2", description="Version of the chips.")

    server: bool = Field(False, description="Whether a Bern data server is there, and no PACMAN board.")

    @property
    def name(self) -> str:
        """What events, counters and files call it."""
        return f"io_group_{self.io_group}"


class MonitorConfig(ApiConfig):
    """A page and an interface that show what boards send; the keys of `api`, and its tokens."""

    port: Port = Field(8710, description="TCP port.")
    layouts: Path | None = Field(None, description="Directory of pixel layouts (larpix-geometry).")
    layout: str | dict[LayoutKey, str] = Field(
        {},
        description="Name of the layout of all boards, or GROUP or GROUP/TILE (each a number or *) -> name.",
    )

    @property
    def layout_names(self) -> dict[str, str]:
        """Key -> name of a layout."""
        return {"*": self.layout} if isinstance(self.layout, str) else dict(self.layout)

    @model_validator(mode="after")
    def _has_layouts(self) -> Self:
        if self.layout and self.layouts is None:
            raise ValueError("layout needs layouts, the directory in which it lies")
        return self


class BoardsConfig(Model):
    """A set of PACMAN boards that are read out together, into one file."""

    members: list[BoardConfig] = Field(
        min_length=1, max_length=254, description="The boards; each is of another io group."
    )
    form: Literal["packets", "raw"] = Field(
        "packets", description="What files hold: packets, a row a word, or messages as they came."
    )
    format_version: Literal["1.0", "2.0", "2.1", "2.2", "2.3", "2.4"] = Field(
        "2.4", description="Version of LArPix+HDF5 of files of packets; 1.0 where all chips are of version 1."
    )
    chip_configs: list[Path] = Field(
        [], description="Configurations of chips, files or folders of *.json; for files of packets, 2.4."
    )
    embed: Path | None = Field(None, description="Folder that goes into every file as it is (daq_configs).")
    drain_s: float = Field(
        5.0, gt=0, le=60, description="Longest wait at the end for what boards had sent by then, in seconds."
    )
    monitor: MonitorConfig | None = Field(None, description="A page that shows what they send, if wanted.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        groups = [one.io_group for one in self.members]
        ends = [(one.host, one.port) for one in self.members]
        if twice := {group for group in groups if groups.count(group) > 1}:
            raise ValueError(f"members names io group {min(twice)} twice")
        if len(set(ends)) < len(ends):
            raise ValueError("members names two boards at the same host and port")
        named = [key.partition("/")[0] for key in (self.monitor.layout_names if self.monitor else {})]
        if strange := [group for group in named if group != "*" and int(group) not in groups]:
            raise ValueError(f"monitor.layout names io group {strange[0]}, and no member is of it")
        if self.form == "packets" and self.format_version == "1.0":
            others = [one.io_group for one in self.members if one.asic != "1"]
            if others:
                raise ValueError(
                    f"format_version 1.0 holds chips of version 1 only, and io group {others[0]} has others"
                )
        if self.chip_configs and (self.form == "raw" or self.format_version != "2.4"):
            raise ValueError(
                "chip_configs go into files of packets of format_version 2.4 only; embed the folder"
            )
        return self
