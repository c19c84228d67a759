"""Reading a configuration: every wrong key is named, with its value and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forebay.config.base import NAME, masked
from forebay.config.document import Document, Place
from forebay.config.environment import overlay
from forebay.config.host import Config
from forebay.config.keys import anchored, description_at, keys_at
from forebay.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Reading:
    """A configuration, and where each of its values comes from."""

    config: Config
    path: Path
    document: Document
    variables: Mapping[Place, str]

    def origin(self, place: Place) -> str:
        """Return ``FILE:LINE``, the name of an environment variable, or ``default``."""
        for length in range(len(place), 0, -1):
            if variable := self.variables.get(place[:length]):
                return variable
        line = self.document.line_of(place)
        return "default" if line is None else f"{self.path}:{line}"

    @property
    def is_indiscreet(self) -> bool:
        """Whether the file holds a password and others than its owner may read it."""
        text = str(self.document.value)
        return masked(text) != text and bool(self.path.stat().st_mode & 0o044)


def load(path: Path) -> Config:
    """Read a configuration file, with the values of the environment in the place of its own.

    Relative paths are below the directory of the file, wherever they were given.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, or a key or value is not allowed; every wrong key is
        named with its value and what is allowed.
    """
    return read(path).config


def read(path: Path, environment: Mapping[str, str] | None = None) -> Reading:
    """Read a configuration as `load`, and keep where each value comes from."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error})"
        raise ConfigError(
            f"Cannot read the configuration {path}: {reason}.",
            "Name the YAML file that describes this host, or set FOREBAY_CONFIG to it. "
            "To begin with, forebay demo writes one.",
        ) from error
    document = Document(text, str(path))
    value, variables = overlay(document.value, os.environ if environment is None else environment)

    def whence(place: Place) -> str:
        if variable := next((name for at, name in variables.items() if place[: len(at)] == at), ""):
            return f"variable {variable}: "
        line = document.line_of(place) or document.line_of(place[:-1])
        return f"line {line}: " if place and line else ""

    config = anchored(_validate(value, str(path), whence), path.absolute().parent)
    return Reading(config, path, document, variables)


def parse(value: object, origin: str) -> Config:
    """Check a configuration that was read from `origin`; `ConfigError` as in `load`.

    Neither the environment nor the directory of a file plays a part.
    """
    return _validate(value, origin, lambda _place: "")


def _validate(value: object, origin: str, whence: Callable[[Place], str]) -> Config:
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        problems = [f"{whence(problem['loc'])}{_say(dict(problem))}" for problem in error.errors()]
        raise ConfigError(masked(f"{origin}: " + "; ".join(problems) + ".")) from error


def _say(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        *above, last = problem["loc"]
        near = get_close_matches(str(last), keys_at(Config, tuple(above)), n=1)
        return f"{where} is not a known key" + (f" (is {near[0]} meant?)" if near else "")
    found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    if problem["type"] == "string_pattern_mismatch":
        if problem["ctx"]["pattern"] == NAME:
            return f"{where.removesuffix('.[key]')}: a name has letters, digits, '.', '_' and '-' only{found}"
        if about := description_at(Config, problem["loc"]):
            return f"{where} has not the right form{found}; it means: {about.removesuffix('.')}"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}"
