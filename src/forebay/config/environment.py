"""Values of the configuration that the environment gives, over those of the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.config.base import masked
from forebay.config.document import Document, Place
from forebay.errors import ConfigError

PREFIX = "FOREBAY__"


def overlay(value: Any, environment: Mapping[str, str]) -> tuple[Any, dict[Place, str]]:
    """Return a configuration with the values of the environment in it, and which variable gave which.

    ``FOREBAY__RECORD__THREADS=4`` is the key `threads` of `record`. What it says is read as YAML, as in the
    file, and replaces what the file has there. Keys are found whether written in capitals or not; a name
    that the file does not have is taken in small letters where the variable has capitals only.

    Raises
    ------
    ConfigError
        If a variable is not YAML, or names a key below something that has no keys.
    """
    variables = sorted(name for name in environment if name.startswith(PREFIX) and name != PREFIX)
    places: dict[Place, str] = {}
    for name in sorted(variables, key=lambda name: name.count("__")):  # the whole before its parts
        *above, last = name.removeprefix(PREFIX).split("__")
        value = _copy(value, name)
        place: Place = ()
        tree = value
        for part in above:
            key = _key(tree, part)
            place = (*place, key)
            tree[key] = _copy(tree.get(key), name)
            tree = tree[key]
        key = _key(tree, last)
        text = environment[name]
        tree[key] = Document(text, f"The variable {name}").value if text.strip() else None
        places[(*place, key)] = name
    return value, places


def _copy(value: Any, variable: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(
            f"The variable {variable} names a key below {masked(repr(value))}, which has no keys."
        )
    return dict(value)


def _key(tree: dict[str, Any], part: str) -> str:
    if part in tree:
        return part
    same = [key for key in tree if str(key).lower() == part.lower()]
    if same:
        return same[0]
    return part.lower() if part.isupper() else part
