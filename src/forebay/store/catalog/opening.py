"""Opening the catalogue that a configuration names."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from forebay.config import Config
from forebay.store.catalog.catalog import Catalog
from forebay.store.catalog.database import one_at_a_time, open_postgresql, open_sqlite
from forebay.store.catalog.migrate import migrate


def sqlite_path(state_dir: Path) -> Path:
    """Return where the catalogue of a host lies."""
    return state_dir / "catalog.sqlite"


def open_catalog(config: Config) -> Catalog:
    """Open the catalogue of a configuration: made if there is none, brought to today's form if it is older.

    Raises
    ------
    CatalogError
        If it cannot be reached, made or brought to today's form.
    """
    if config.catalog != "sqlite":
        database = open_postgresql(config.catalog)
        alone: AbstractContextManager[None] = nullcontext()
    else:
        path = sqlite_path(config.state_dir.absolute())
        database = open_sqlite(path)
        alone = one_at_a_time(path.with_suffix(".lock"))  # who makes a file of SQLite must be alone with it
    try:
        with alone:
            migrate(database)
    except BaseException:
        database.close()
        raise
    return Catalog(database)
