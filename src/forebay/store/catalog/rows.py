"""Rows of the tables and the values that they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from forebay.errors import CatalogError
from forebay.job import Change, Job

T = TypeVar("T", bound=msgspec.Struct)

_JSON_COLUMNS = {"parameters", "result"}


def to_row(value: msgspec.Struct) -> dict[str, Any]:
    """Return the columns of a value.

    Raises
    ------
    CatalogError
        If JSON cannot say it.
    """
    row = {name: getattr(value, name) for name in value.__struct_fields__}
    return {name: to_json(part) if name in _JSON_COLUMNS else part for name, part in row.items()}


def from_row(kind: type[T], row: sa.Row[Any]) -> T:
    """Return the value that a row stands for; columns that the value does not have are left out."""
    found = {
        str(name): msgspec.json.decode(part) if name in _JSON_COLUMNS else part
        for name, part in row._mapping.items()  # noqa: SLF001 - the public way to a row's names
        if name in kind.__struct_fields__
    }
    return msgspec.convert(found, kind)


def to_json(value: Any) -> str:
    """Return a value as JSON; `CatalogError` if it is none."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError) as error:
        raise CatalogError(f"A value cannot be kept as JSON: {error}.") from error


def with_history(rows: Iterable[sa.Row[Any]], changes: Iterable[sa.Row[Any]]) -> list[Job]:
    """Return the jobs of `rows`, each with its own of `changes`, which are in the order of time."""
    histories: dict[str, list[Change]] = {}
    for one in changes:
        histories.setdefault(one.job, []).append(from_row(Change, one))
    jobs = [from_row(Job, row) for row in rows]
    return [msgspec.structs.replace(job, history=tuple(histories.get(job.id, ()))) for job in jobs]


def insert_new(
    connection: sa.Connection, table: sa.Table, row: dict[str, Any]
) -> sqlite.Insert | postgresql.Insert:
    """Return the statement that adds a row unless its key is there already."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(table).values(row).on_conflict_do_nothing()
