"""Configuration of control: bus, catalogue, interfaces, limits of what may be asked."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from forebay.config.base import Model, Port


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
    max_body_bytes: int = Field(2**20, ge=1024, description="Largest body of a request.")


def default_state_dir() -> Path:
    """Return where this user's durable state lies: ``FOREBAY_STATE_DIR``, else the XDG directory."""
    if named := os.environ.get("FOREBAY_STATE_DIR"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "forebay"
