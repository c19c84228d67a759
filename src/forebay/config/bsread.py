"""Configuration of beam-synchronous streams that are buffered (bsread)."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from forebay.config.base import Model, Port

StreamAddress = Annotated[str, Field(pattern=r"^tcp://[^\s/]+:[0-9]{1,5}$")]


class BsreadDiskConfig(Model):
    """The past of one bsread stream on disk, for minutes to hours."""

    directory: Path = Field(description="Where the ring on disk lies; local, and nothing else in it.")
    max_bytes: int = Field(10 * 2**30, ge=2**24, description="Bytes that are kept.")
    max_age_s: float | None = Field(
        None, gt=0, description="How long messages are kept, in seconds; null: as bytes allow."
    )


class BsreadConfig(Model):
    """One bsread stream: where it comes from, how much of it is kept, how its files are written."""

    source: StreamAddress = Field(description="Address of the sender, tcp://HOST:PORT.")
    mode: Literal["pull", "sub"] = Field(
        "pull",
        description="pull: the sender pushes, as sources do. sub: it publishes, as the dispatcher does.",
    )
    output_address: IPv4Address = Field(
        IPv4Address("127.0.0.1"), description="Local address to which consumers and workers connect."
    )
    output_port: Port = Field(8082, description="TCP port to which consumers and workers connect.")
    public: bool = Field(False, description="Allow an output_address that is open to other hosts.")
    max_messages: int = Field(1000, ge=1, description="Messages that are kept in memory.")
    max_bytes: int | None = Field(
        None, ge=1, description="Bytes of messages that are kept in memory; null: a quarter of the memory."
    )
    disk: BsreadDiskConfig | None = Field(None, description="Its past on disk, if it is to have one.")
    analyzer: bool = Field(
        False, description="Log missing values, gaps, duplicates, reversed pulse ids and jumps of the clock."
    )
    pulse_step: int = Field(1, ge=1, description="Distance of neighbouring pulse ids.")
    layout: Literal["bsread", "data-api"] = Field(
        "bsread", description="Layout of its files: that of SwissFEL's bsread writer, or of its data API."
    )

    @property
    def output(self) -> str:
        """Where programs of this host connect."""
        host = "127.0.0.1" if self.output_address.is_unspecified else str(self.output_address)
        return f"tcp://{host}:{self.output_port}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 < int(self.source.rpartition(":")[2]) < 65536:
            raise ValueError(f"source {self.source} has a port that is none; write tcp://HOST:PORT")
        if not (self.output_address.is_loopback or self.public):
            raise ValueError(
                f"output_address {self.output_address} is open to other hosts; say public: true if it may be"
            )
        return self
