"""Configuration of routines: functions that may be asked for by name, and no others."""

from __future__ import annotations

from pydantic import Field

from forebay.config.base import Model


class RoutineConfig(Model):
    """A function of this installation that may be asked for by name."""

    function: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="Where it is: package.module:function; called with the arguments of the request.",
    )
    description: str = Field("", description="What it does, for those who choose one.")
    timeout_s: float = Field(3600.0, gt=0, description="It is ended after so many seconds.")
