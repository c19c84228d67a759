"""Whose data there are: what is checked before a proposal is booked, and the folder of the default one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from forebay.config.base import Name
from forebay.errors import ConfigError, UnknownError
from forebay.run.intake import DEFAULT_PROPOSAL

if TYPE_CHECKING:
    from forebay.store.catalog import Catalog

LOG = logging.getLogger("forebay")

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_proposal(name: str, directory: str | Path) -> Path:
    """Return the folder of a proposal, symlinks resolved.

    Raises
    ------
    ConfigError
        If the name cannot be one or is that of the default proposal, or the folder is not a full path or
        not there.
    """
    if name == DEFAULT_PROPOSAL:
        raise ConfigError(
            f"The folder of proposal {name} is record.directory of the configuration.",
            "Set that, or give the proposal another name.",
        )
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


def follow_configuration(catalog: Catalog, directory: Path) -> None:
    """Let the folder of the default proposal be the one in which this host records; its numbers go on."""
    try:
        booked = catalog.proposal(DEFAULT_PROPOSAL).directory
    except UnknownError:
        booked = None
    if booked == str(directory.absolute()):
        return
    catalog.put_proposal(DEFAULT_PROPOSAL, directory)
    if booked is not None:
        fields = {"proposal": DEFAULT_PROPOSAL, "folder": directory.absolute(), "before": booked}
        LOG.warning("the folder of a proposal is another one now", extra={"fields": fields})
