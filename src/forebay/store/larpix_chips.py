"""Configurations of chips from files, as larpix-control and the scripts around it write them.

A file is of one chip: either its parameters with ``CHIP_KEY`` and ``ASIC_VERSION``, which may stand under
``meta`` (crs_daq), or ``register_values`` and ``class`` (larpix-control), where the name of the file ends
with the chip's key, ``...1-2-11.json``. What a file does not name has the value that a chip starts with.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from forebay.errors import ConfigError
from forebay.store.larpix_manifest import ChipRegisters
from forebay.wire.larpix.register_map import PARAMETERS
from forebay.wire.larpix.registers import default_registers, with_settings

CONTROL_VERSIONS: Final[Mapping[str, str]] = {"lightpix-1": "lightpix-v1.0"}
"""Versions of chips that larpix-control calls otherwise."""

_OURS: Final = {theirs: ours for ours, theirs in CONTROL_VERSIONS.items()}
_CLASSES: Final = {
    "Configuration_v1": "1",
    "Configuration_v2": "2",
    "Configuration_v2b": "2b",
    "Configuration_Lightpix_v1": "lightpix-1",
    "Configuration_v3": "3",
}
_ABOUT: Final = ("CHIP_KEY", "ASIC_ID", "ASIC_VERSION", "description", "meta")
_KEY: Final = re.compile(r"(\d{1,3})-(\d{1,3})-(\d{1,3})$")
_MOST_INCLUDES: Final = 8
_MOST_BYTES: Final = 32 * 2**20
_HOW: Final = 'Write {"CHIP_KEY": "1-2-11", "ASIC_VERSION": "2b", "threshold_global": 40, ...} into it.'


def version_from_control(name: object) -> str:
    """Return our name of a version of chips as larpix-control has it."""
    return _OURS.get(str(name), str(name))


def read_chips(paths: Sequence[Path]) -> tuple[ChipRegisters, ...]:
    """Return the configurations in these files, and in all ``*.json`` of folders, in the order of keys.

    Raises
    ------
    ConfigError
        If a file cannot be read, is none of a chip, has a parameter or a value that such chips have not, or
        two are of one chip.
    """
    files = [one for path in paths for one in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise ConfigError(
            f"There is no *.json in {', '.join(map(str, paths))}.", "Name files or their folder."
        )
    found: dict[tuple[int, int, int], ChipRegisters] = {}
    for file in files:
        chip = _read_chip(file)
        place = (chip.io_group, chip.io_channel, chip.chip_id)
        if place in found:
            raise ConfigError(f"{file} is of chip {'-'.join(map(str, place))}, as another file.")
        found[place] = chip
    return tuple(found[place] for place in sorted(found))


def _read_chip(path: Path) -> ChipRegisters:
    try:
        found = _read(path, _MOST_INCLUDES)
        if "register_values" in found:
            key, version = path.stem, _CLASSES[found["class"]]
            settings = found["register_values"]
        else:
            about = found.get("meta", found)
            key, version = str(about["CHIP_KEY"]), version_from_control(about["ASIC_VERSION"])
            settings = {name: value for name, value in found.items() if name not in _ABOUT}
        group, channel, chip = map(int, _KEY.search(key).groups())  # type: ignore[union-attr]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no configuration of a chip: {error!r}.", _HOW) from error
    if max(group, channel, chip) > 255:
        raise ConfigError(f"{path} is of chip {key!r}.", "A key has numbers to 255: GROUP-CHANNEL-CHIP.")
    try:
        registers = with_settings(default_registers(version), _known(settings, version), version)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return ChipRegisters(group, channel, chip, version, registers.tobytes())


def _known(settings: Mapping[str, Any], version: str) -> dict[str, Any]:
    # Default files of larpix-control name terminations of version 3 that its chips do not have any more.
    gone = ("r_term_clk", "r_term_reset", "r_term_ext_trig")
    return {
        name: value
        for name, value in settings.items()
        if not (version == "3" and name in gone and name not in PARAMETERS["3"])
    }


def _read(path: Path, depth: int) -> dict[str, Any]:
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise TypeError("it is no object")
    included = found.pop("_include", [])
    if included and not depth:
        raise ValueError("its _include goes round in a circle")
    base: dict[str, Any] = {}
    for name in included:
        beside = path.parent / name
        base = _over(_read(beside if beside.exists() else Path(name), depth - 1), base)
    return _over(found, base)


def _over(new: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `new` says, objects within objects too."""
    found = dict(base)
    for name, value in new.items():
        old = found.get(name)
        found[name] = _over(value, old) if isinstance(value, dict) and isinstance(old, dict) else value
    return found


def packed(directory: Path) -> bytes:
    """Return a folder as xz-compressed tar whose only top folder is ``daq_configs.NAME``.

    Raises
    ------
    ConfigError
        If it is no folder, cannot be read, or is too large to be in the head of a journal.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no folder.", "Name the folder with the configurations.")
    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
            tar.add(directory, arcname=f"daq_configs.{directory.resolve().name}", filter=_plain)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be packed: {error}.") from error
    data = buffer.getvalue()
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{directory} has {len(data)} bytes when packed.", f"At most {_MOST_BYTES} fit.")
    return data


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is no file or folder, and who owns it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isfile() or member.isdir() else None


def top_folder(data: bytes) -> str:
    """Return the name of the folder in what `packed` returned."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        first = tar.next()
        return first.name if first is not None else ""
