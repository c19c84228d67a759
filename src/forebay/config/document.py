"""A YAML file as values, and on which line each of them stands."""

from __future__ import annotations

from typing import Any

import yaml

from forebay.errors import ConfigError

Place = tuple[str | int, ...]
"""Keys and indices from the top of the configuration to a value."""


class _OnceLoader(yaml.SafeLoader):
    """A loader that refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Document:
    """One YAML document.

    Parameters
    ----------
    origin:
        Name of the file, for errors.

    Attributes
    ----------
    value:
        What it says; ``{}`` if it is empty.

    Raises
    ------
    ConfigError
        If it is not YAML of plain values, or gives a key twice.
    """

    def __init__(self, text: str, origin: str) -> None:
        loader = _OnceLoader(text)
        try:
            self._top = loader.get_single_node()
            value = None if self._top is None else loader.construct_document(self._top)
        except yaml.YAMLError as error:
            raise ConfigError(f"{origin} is not valid YAML: {_say_where(error)}.") from error
        except (RecursionError, ValueError) as error:
            raise ConfigError(f"{origin} is not valid YAML: {error}.") from error
        finally:
            loader.dispose()
        self.value: Any = {} if value is None else value

    def line_of(self, place: Place) -> int | None:
        """Return the line, from 1, on which the key of a value stands; None if it is not in the file."""
        node, line = self._top, 1
        for part in place:
            if isinstance(node, yaml.MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(part)]
                if not found:
                    return None
                key, node = found[-1]
                line = key.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                return None
        return line


def _say_where(error: yaml.YAMLError) -> str:
    """Return what the parser says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())
