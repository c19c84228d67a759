"""Configuration of cameras whose modules send time-tagged blocks (CHEC), and of who gets their readouts."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from forebay.config.base import Model, Port

Module = Annotated[int, Field(ge=0, le=31)]


class ReadoutPublisherConfig(Model):
    """Readouts for other programs, in the messages of SSDAQ."""

    address: IPv4Address = Field(
        IPv4Address("127.0.0.101"), description="Address that is bound, or of the listener if mode is remote."
    )
    port: Port = Field(5555, description="TCP port.")
    mode: Literal["local", "outbound", "remote"] = Field(
        "local",
        description="local: for this host. outbound: other hosts may listen. remote: connects to a listener.",
    )
    generation: Literal["A", "B"] = Field("A", description="Whose messages: A is SSDAQ 0.8, B is 0.9.")


class CameraConfig(Model):
    """One camera: where its modules send, which time tags belong together, how its files are written."""

    address: IPv4Address = Field(
        IPv4Address("127.0.0.1"), description="Local address to which all modules send."
    )
    port: Port = Field(2009, description="UDP port to which all modules send.")
    modules: dict[IPv4Address, Module] = Field(
        default_factory=dict,
        description="Module of each sender; where empty, the last byte of an address, modulo 100, says it.",
    )
    relaxed: bool = Field(
        False, description="Take senders beyond the last module modulo 32; they are foreign otherwise."
    )
    expected: list[Module] | None = Field(
        None, min_length=1, description="Modules of a complete readout; null: those that were heard lately."
    )
    receive_buffer_bytes: int = Field(
        64 * 2**20, ge=2**16, le=2**30, description="Socket buffer of the port."
    )
    window_s: float = Field(
        0.001, gt=0, le=60, description="By how much the time tags of one readout may differ, in seconds."
    )
    deadline_s: float = Field(
        4.0, gt=0, le=60, description="Longest wait for a module of a readout, in seconds."
    )
    patience: int = Field(100, ge=1, description="A module so many readouts ahead of one is not waited for.")
    open_readouts: int = Field(1000, ge=1, le=100_000, description="Most readouts that wait at once.")
    publishers: list[ReadoutPublisherConfig] = Field(
        default_factory=list, max_length=16, description="Where readouts are sent, as SSDAQ sends them."
    )
    generation: Literal["A", "B"] = Field("A", description="Whose table its files have: A is SSDAQ 0.8.")
    compression: Literal["zlib", "bzip2", "none"] = Field("zlib", description="How its files are compressed.")

    @model_validator(mode="after")
    def _modules_differ(self) -> Self:
        if len(set(self.modules.values())) < len(self.modules):
            raise ValueError("modules names two addresses of the same module")
        return self
