"""What all parts of the configuration share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Names of detectors and streams: they become file names, dataset names and socket names."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    """Base of every configuration value: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
