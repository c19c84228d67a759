"""Bringing the tables of a catalogue to the form that this forebay knows."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from forebay.errors import CatalogError
from forebay.store.catalog.database import Database
from forebay.store.catalog.tables import REVISION

SCRIPTS = Path(__file__).parent / "migrations"

_LOCK = 0x666F7265626179  # "forebay": whoever migrates a catalogue in PostgreSQL has this lock


def migrate(database: Database, target: str = REVISION) -> None:
    """Bring the tables to revision `target`, in one transaction; does nothing if they have it.

    Raises
    ------
    CatalogError
        If a newer forebay made them.
    """
    with database.read() as connection:
        if revision(connection) == target:
            return
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        if (found := revision(connection)) != target:  # nobody was quicker
            _upgrade(connection, found, target, database.where)


def revision(connection: sa.Connection) -> str | None:
    """Return the revision of the tables, None where there are none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection, found: str | None, target: str, where: str) -> None:
    from alembic import command  # rarely needed, and slow to import
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise CatalogError(
            f"The catalogue {where} was made by a newer forebay: revision {found}, not {target}.",
            "Use that version, or name another catalogue.",
        )
    command.upgrade(config, target)
