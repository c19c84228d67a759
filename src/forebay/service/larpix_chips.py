"""The chips of a board as the producer knows them: boards to load, configurations, what chips answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from forebay.errors import ConfigError
from forebay.wire.larpix.register_map import PARAMETERS
from forebay.wire.larpix.registers import default_registers, settings_of, with_settings

_SUFFIX = "_chip_info.json"


def read_boards(directory: Path | None, chips: list[str]) -> dict[str, list[str]]:
    """Return name -> chip keys of the boards of a directory, or ``pcb-1`` with these chips.

    Raises
    ------
    ConfigError
        If there is none, or a file is none of a board.
    """
    if directory is None:
        return {"pcb-1": chips}
    boards = {}
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        try:
            found = json.loads(path.read_text())
            keys = [_key(one) for one in found["chip_list"]]
            boards[str(found["name"])] = keys
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"{path} is no configuration of a board: {error}."
            raise ConfigError(what, 'Write {"name": ..., "chip_list": ["1-1-246", ...]}.') from error
    if not boards:
        raise ConfigError(f"There is no *{_SUFFIX} in {directory}.")
    return boards


def _key(text: object) -> str:
    parts = str(text).split("-")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) < 256 for part in parts):
        raise ConfigError(f"{text!r} is no chip key.", "Write GROUP-CHANNEL-CHIP, e.g. 1-1-246.")
    return str(text)


class Chips:
    """The chips of the board that is loaded, with their configurations in software.

    Parameters
    ----------
    boards:
        Name -> chip keys.
    asic_versions:
        Io group -> version of its chips.
    """

    def __init__(self, boards: dict[str, list[str]], asic_versions: Mapping[int, str]) -> None:
        self.boards = boards
        self._versions = asic_versions
        self.load(next(iter(boards)))

    def load(self, name: object) -> None:
        """Load a board by name or by the original's file name, with the configuration of new chips."""
        short = Path(str(name)).name.removesuffix(_SUFFIX)
        if short not in self.boards:
            todo = f"There are {', '.join(self.boards)}; the producer's --boards DIR adds others."
            raise ConfigError(f"There is no board {name!r}.", todo)
        registers = {key: default_registers(self.asic_version(key)) for key in self.boards[short]}
        self.current, self._registers = short, registers

    def asic_version(self, key: str) -> str:
        """Return the version of a chip; `ConfigError` if nothing leads to its io group."""
        group = int(key.split("-")[0])
        if group not in self._versions:
            known = ", ".join(map(str, self._versions))
            raise ConfigError(
                f"Chip {key} is of io group {group}, which no board has.", f"There are {known}."
            )
        return self._versions[group]

    def place(self, key: str) -> tuple[int, int, int]:
        """Return io group, io channel and chip id; `ConfigError` if the board has no such chip."""
        self.registers(key)
        group, channel, chip = map(int, key.split("-"))
        return group, channel, chip

    def registers(self, key: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the registers of a chip; `ConfigError` if the board has no such chip."""
        if key not in self._registers:
            raise ConfigError(
                f"Board {self.current} has no chip {key!r}.", f"It has {', '.join(self._registers)}."
            )
        return self._registers[key]

    def settings(self, key: str) -> dict[str, Any]:
        """Return the configuration of a chip, name by name."""
        return settings_of(self.registers(key), self.asic_version(key))

    def change(self, updates: Any) -> None:
        """Change configurations, all or none; `ConfigError` if there is no such chip, name or value."""
        if not isinstance(updates, dict) or not all(isinstance(one, dict) for one in updates.values()):
            raise ConfigError(f"{updates!r} are no changes.", "Give chip key -> name -> value.")
        new = {
            key: with_settings(self.registers(key), changes, self.asic_version(key))
            for key, changes in updates.items()
        }
        self._registers.update(new)

    def name_of(self, key: str, address: int) -> str:
        """Return the name of the parameter of a chip that begins in, or covers, a register."""
        for name, one in PARAMETERS[self.asic_version(key)].items():
            if one.first < 8 * (address + 1) and 8 * address < one.first + one.n * one.n_bits:
                return name
        return str(address)
