"""Which keys there are at a place of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from forebay.config.base import Model
from forebay.config.document import Place

_M = TypeVar("_M", bound=Model)


def keys_at(model: type[Model], place: Place) -> list[str]:
    """Return the keys that `place` may have; empty where it is a list, or free names are its keys."""
    return [name for one in _models_at(model, place) for name in one.model_fields]


def description_at(model: type[Model], place: Place) -> str:
    """Return what is said about the value at `place`, or about the list that it is in; empty for nothing."""
    *above, last = place[:-1] if place and isinstance(place[-1], int) else place
    for one in _models_at(model, tuple(above)):
        if last in one.model_fields:
            return one.model_fields[str(last)].description or ""
    return ""


def _models_at(model: type[Model], place: Place) -> list[type[Model]]:
    models = [model]
    for part in place:
        annotations = [one.model_fields[str(part)].annotation for one in models if part in one.model_fields]
        if annotations:  # else the name of a detector, an index or the like: still the same models
            models = [found for one in annotations for found in _models_in(one)]
    return models


def _models_in(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def anchored(model: _M, base: Path) -> _M:
    """Return `model` with every relative path in it made absolute, below `base`."""
    return model.model_copy(
        update={name: _anchored(getattr(model, name), base) for name in type(model).model_fields}
    )


def _anchored(value: Any, base: Path) -> Any:
    match value:
        case Path():
            return base / value
        case Model():
            return anchored(value, base)
        case dict():
            return {key: _anchored(one, base) for key, one in value.items()}
        case list():
            return [_anchored(one, base) for one in value]
    return value


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every single value of a configuration in the form of JSON, and its place, in order.

    An empty list or mapping is a value as well.
    """
    if value and isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            yield from leaves(one, (*place, key))
    else:
        yield place, value
