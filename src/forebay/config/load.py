"""Reading a configuration: every wrong key is named, with its value and what is allowed."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import yaml
from pydantic import ValidationError

from forebay.config.base import Model
from forebay.config.host import Config
from forebay.errors import ConfigError


def load(path: Path) -> Config:
    """Read a YAML configuration.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, or a key or value is not allowed; every wrong key is
        named with its value and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error})"
        raise ConfigError(
            f"Cannot read the configuration {path}: {reason}.", "Name the YAML file that describes this host."
        ) from error
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_say_where(error)}.") from error
    return parse(value if value is not None else {}, str(path))


def parse(value: object, origin: str) -> Config:
    """Check a configuration that was read from `origin`; `ConfigError` as in `load`."""
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: " + "; ".join(_say(e) for e in error.errors()) + ".") from error


def _say_where(error: yaml.YAMLError) -> str:
    """Return what the parser says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _say(problem: object) -> str:
    assert isinstance(problem, dict)
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        known = {name for model in Model.__subclasses__() for name in model.model_fields}
        near = get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"{where} is not a known key" + (f" (is {near[0]} meant?)" if near else "")
    found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}"
