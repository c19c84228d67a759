"""Configuration of a detector: its packets, its shared memory, its views and streams."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from forebay.config.base import Model, Port


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


class BufferConfig(Model):
    """Images of one detector on disk, compressed, for minutes to hours."""

    directory: Path = Field(description="Where the buffer lies; local, and nothing else in it.")
    max_bytes: int = Field(100 * 2**30, ge=2**24, description="Bytes that are kept.")
    max_age_s: float | None = Field(None, gt=0, description="How long images are kept; null: as bytes allow.")
    threads: int = Field(2, ge=1, le=64, description="Threads that compress.")


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
    receive_buffer_bytes: int = Field(
        64 * 2**20, ge=2**16, le=2**30, description="Socket buffer of one port."
    )
    ring: RingConfig = Field(RingConfig(), description="Its shared memory.")
    build: BuildConfig = Field(BuildConfig(), description="When its events are released.")
    buffer: BufferConfig | None = Field(None, description="Its past on disk, if it is to have one.")
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
