"""Whose data there are: what is checked before a proposal is booked."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from forebay.config.base import Name
from forebay.errors import ConfigError

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_proposal(name: str, directory: str | Path) -> Path:
    """Return the folder of a proposal, symlinks resolved.

    Raises
    ------
    ConfigError
        If the name cannot be one, or the folder is not a full path or not there.
    """
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise ConfigError(
            f"{name!r} cannot be the name of a proposal.", "Use 1 to 64 letters, digits, '.', '_' and '-'."
        ) from error
    folder = Path(directory)
    if not folder.is_absolute():
        raise ConfigError(
            f"The folder {directory} of proposal {name} is not a full path.", "Begin it with /."
        )
    try:
        is_there = folder.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        is_there = False
    if not is_there:
        raise ConfigError(
            f"There is no folder {directory} for proposal {name}.",
            "Make it, with the rights that its users need.",
        )
    return folder.resolve()
