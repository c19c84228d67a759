"""Configuration of process variables that are buffered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from forebay.config.base import Model

PvName = Annotated[str, Field(pattern=r"^((ca|pva)://)?[!-~]{1,500}$")]
"""Names of process variables: ``X`` or ``ca://X`` by Channel Access, ``pva://X`` by pvAccess."""


class EpicsConfig(Model):
    """Process variables that are buffered on disk."""

    pvs: list[PvName] = Field(description="Names; ca://X (or X) by Channel Access, pva://X by pvAccess.")
    pulse_id_pv: PvName | None = Field(
        None, description="The PV whose value is the pulse id; it is buffered whether named in pvs or not."
    )
    archive_deadband: bool = Field(
        False, description="Take also what the archive deadband of a record lets through."
    )
    long_strings: list[PvName] = Field(
        default_factory=list, description="Those of pvs that are character waveforms holding text."
    )
    directory: Path = Field(description="Where the buffer lies; local, and nothing else in it.")
    max_bytes: int = Field(10 * 2**30, ge=2**24, description="Bytes of values that are kept.")
    max_age_s: float | None = Field(86_400.0, gt=0, description="How long values are kept.")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        twice = (
            {name for name in self.pvs if self.pvs.count(name) > 1}
            if len(set(self.pvs)) < len(self.pvs)
            else ()
        )
        if twice:
            raise ValueError(f"pvs names {', '.join(sorted(twice))} more than once")
        if unknown := set(self.long_strings) - set(self.pvs):
            raise ValueError(f"long_strings names {', '.join(sorted(unknown))}, and pvs does not")
        return self

    @property
    def names(self) -> list[str]:
        """All names, that of the pulse-id PV included."""
        extra = [self.pulse_id_pv] if self.pulse_id_pv and self.pulse_id_pv not in self.pvs else []
        return [*self.pvs, *extra]
