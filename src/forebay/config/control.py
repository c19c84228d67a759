"""Configuration of control: bus, catalogue, interfaces, limits of what may be asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from forebay.config.base import Model, Port

HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$")]


class WorkersConfig(Model):
    """How many jobs of a kind this host carries out at once."""

    record: int = Field(2, ge=0, le=64, description="Processes that record what is to come.")
    retrieve: int = Field(1, ge=0, le=64, description="Processes that retrieve what went by.")


class QuotaConfig(Model):
    """What one request may ask for."""

    pulses: int = Field(1_000_000, ge=1, description="Most pulses a request.")
    queued_jobs: int = Field(1000, ge=1, description="Most jobs that wait at once.")


class ApiConfig(Model):
    """The REST interface."""

    address: str = Field("127.0.0.1", description="Address that is bound; any but loopback needs tokens.")
    port: Port = Field(8700, description="TCP port.")
    behind_proxy: bool = Field(
        False, description="A reverse proxy checks who comes: no tokens on other addresses than loopback."
    )
    host_names: list[HostName] = Field(
        default_factory=list, description="Names under which we are reached, besides localhost and our own."
    )
    certificate: Path | None = Field(None, description="TLS certificate (PEM), with its chain; none is HTTP.")
    key: Path | None = Field(None, description="Private key of the certificate (PEM).")
    max_body_bytes: int = Field(2**20, ge=1024, description="Largest body of a request, in bytes.")
    max_watchers: int = Field(100, ge=1, le=10_000, description="Most clients that watch at once.")

    @model_validator(mode="after")
    def _both_of_tls(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        return self


def default_state_dir() -> Path:
    """Return where this user's durable state lies: ``FOREBAY_STATE_DIR``, else the XDG directory."""
    if named := os.environ.get("FOREBAY_STATE_DIR"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "forebay"
