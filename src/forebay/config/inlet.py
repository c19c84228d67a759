"""Configuration of the other streams of a camera: logs, triggers, time stamps, monitoring, the telescope."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from forebay.config.base import Model, Port

Kind = Literal["logs", "triggers", "timestamps", "monitoring", "telescope"]

_TAKES: dict[Kind, tuple[str, int]] = {
    "logs": ("127.0.0.1", 10001),
    "triggers": ("127.0.0.1", 8307),
    "timestamps": ("192.168.101.102", 6666),
    "monitoring": ("127.0.0.101", 10002),
}
_PUBLISHED: dict[Kind, int] = {
    "logs": 9001,
    "triggers": 9002,
    "timestamps": 9003,
    "monitoring": 9005,
    "telescope": 9006,
}


class MessagePublisherConfig(Model):
    """Messages for other programs, each as it came."""

    address: IPv4Address = Field(
        IPv4Address("127.0.0.101"), description="Address that is bound, or of the listener if mode is remote."
    )
    port: Port = Field(description="TCP port.")
    mode: Literal["local", "outbound", "remote"] = Field(
        "local",
        description="local: for this host. outbound: other hosts may listen. remote: connects to a listener.",
    )


class InletConfig(Model):
    """One stream of a camera beside its slow signals, as SSDAQ 0.9 has them: whence it comes, who gets it."""

    kind: Kind = Field(
        description="logs (TCP), triggers (UDP), timestamps (of the timing board), monitoring (what "
        "receivers tell of themselves), telescope (where it points)."
    )
    address: IPv4Address | IPv6Address | None = Field(
        None,
        description="Local address that is listened to, of timestamps that of the timing board; null: "
        "127.0.0.1, of monitoring 127.0.0.101, of timestamps 192.168.101.102.",
    )
    port: Port | None = Field(
        None,
        description="Its port; null: logs 10001, triggers 8307, timestamps 6666, monitoring 10002.",
    )
    file: Path | None = Field(
        None,
        description="Of the telescope: lines of JSON, each with ra and dec, to which somebody appends; null: "
        "always the ra and dec of here.",
    )
    ra: float = Field(
        0.322, allow_inf_nan=False, description="Of the telescope without a file: right ascension."
    )
    dec: float = Field(
        -0.24, allow_inf_nan=False, description="Of the telescope without a file: declination."
    )
    period_s: float = Field(
        15.0, gt=0, le=86400, description="How often the telescope's direction is looked up, in seconds."
    )
    publishers: list[MessagePublisherConfig] | None = Field(
        None,
        max_length=16,
        description="Where messages are sent; null: 127.0.0.101, at 9001 logs, 9002 triggers, 9003 "
        "timestamps, 9005 monitoring, 9006 telescope.",
    )
    monitor: str = Field(
        "",
        pattern=r"^(tcp://[^ ]+:\d+)?$",
        description="Where it tells once a second how it is, tcp://127.0.0.101:10002 for the receiver of "
        "monitoring; empty: nowhere.",
    )

    @model_validator(mode="after")
    def _telescope_has_no_address(self) -> Self:
        if self.kind == "telescope" and (self.address is not None or self.port is not None):
            raise ValueError("a telescope is read from a file: it has no address and no port")
        if self.kind != "telescope" and self.file is not None:
            raise ValueError(f"{self.kind} come from the network: only a telescope has a file")
        return self

    @property
    def end(self) -> tuple[str, int]:
        """Address and port from which it takes; of a telescope there are none."""
        address, port = _TAKES.get(self.kind, ("", 0))
        return str(self.address or address), self.port or port

    @property
    def outlets(self) -> list[MessagePublisherConfig]:
        """Its publishers, those that it has if none are named included."""
        if self.publishers is not None:
            return self.publishers
        return [MessagePublisherConfig(port=_PUBLISHED[self.kind])]
