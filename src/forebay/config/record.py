"""Configuration of files: where they go and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from forebay.config.base import Model


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
