"""The database below the catalogue: connections, transactions, and errors that a person can act on."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from forebay.config import masked
from forebay.errors import CatalogError

BUSY_S = 30.0
"""Longest wait for others who write."""

_RETRIED = {"40001", "40P01"}  # PostgreSQL: serialisation failure, deadlock; nothing was done then
_N_TRIES = 5
_WRITES = "forebay_writes"


class Database:
    """SQLite below a directory or PostgreSQL by URL; usable from several threads.

    Parameters
    ----------
    where:
        What error messages call it; must not hold a password.
    """

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self._engine = engine
        self.where = where

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this host."""
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Lend a connection that sees one state of everything; `CatalogError` if it cannot be had."""
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Lend a connection whose changes are durable together once the block ends, or not made at all.

        Raises
        ------
        CatalogError
            If it cannot be had, or others write for longer than `BUSY_S` seconds.
        """
        with self._errors(), self._engine.connect() as connection:
            connection = connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Let go of all connections; may be called twice."""
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise explain(error, self.where) from error


def is_retried(error: CatalogError) -> bool:
    """Whether a transaction was undone because of others, so that trying again is right."""
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) in _RETRIED


def tries() -> Iterator[bool]:
    """Yield whether this try is the last one; waits a little before every further one."""
    for i in range(_N_TRIES):
        if i:
            time.sleep(0.01 * 2**i)
        yield i + 1 == _N_TRIES


def open_sqlite(path: Path) -> Database:
    """Open a catalogue in a file, which is made if there is none, for this user only.

    Raises
    ------
    CatalogError
        If it can neither be opened nor made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CatalogError(
            f"The catalogue {path} cannot be made: {error.strerror}.",
            "Set state_dir in the configuration to a directory that you may write to.",
        ) from error
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_S})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return Database(engine, str(path))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begin; one who will write says so at once, so that nobody changes what he has just read."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def open_postgresql(url: str) -> Database:
    """Open a catalogue by ``postgresql://USER:PASSWORD@HOST/NAME``.

    Raises
    ------
    CatalogError
        If the URL is none, or the driver is not installed; a server that is away is found at the first use.
    """
    try:
        parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    except (SQLAlchemyError, ValueError) as error:  # a port that is no number is a ValueError
        raise CatalogError("catalog is not a URL.", "Write postgresql://USER:PASSWORD@HOST/NAME.") from error
    try:
        engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except ModuleNotFoundError as error:
        raise CatalogError(
            f"A catalogue in PostgreSQL needs {error.name}, which is not installed.",
            "Install it: pip install 'forebay[postgresql]'",
        ) from error
    shown = masked(parsed.render_as_string(hide_password=True).replace("+psycopg", ""))
    return Database(engine, shown)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep other processes of this host out of the block."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise CatalogError(
            f"{path} cannot be written: {error.strerror}.", "Look who owns state_dir."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_REMEDIES = {
    "disk is full": "Free some space there, and ask again: nothing was booked.",
    "readonly database": "Look who owns that directory and whether its disk is mounted read-only.",
    "unable to open": "Look whether that directory exists and you may write to it.",
    "disk i/o error": "Look whether the disk is full (or your file size limited), and into the system log.",
    "locked": f"Somebody has been writing for {BUSY_S:g} s; find out which process hangs.",
    "not a database": "Move the file away, start again and run: forebay catalog rebuild DIRECTORY",
    "malformed": "Move the file away, start again and run: forebay catalog rebuild DIRECTORY",
    "certificate verify failed": "Name the certificate of the authority that signed the server's: "
    "?sslmode=verify-full&sslrootcert=/etc/forebay/ca.pem",
    "root certificate file": "Name the certificate of the authority that signed the server's: "
    "?sslmode=verify-full&sslrootcert=/etc/forebay/ca.pem",
    "does not match host name": "Write the host in `catalog` as the server's certificate has it.",
    "unknown ca": "The server does not know who signed sslcert in `catalog`.",
    "client certificate": "The server asks for a certificate of yours: add sslcert and sslkey to `catalog`.",
    "private key": "Name the private key of sslcert as sslkey, in a file that only this user may read.",
    "no encryption": "The server wants TLS: add ?sslmode=verify-full&sslrootcert=FILE to `catalog`.",
    "sslmode": "Write sslmode=verify-full, or another that PostgreSQL knows.",
    "connection option": "Look in PostgreSQL's documentation how parameters of a connection are called.",
    "authentication failed": "Check user and password in `catalog` of the configuration.",
    "does not exist": "Create it (createdb) or name another in `catalog` of the configuration.",
    "connection": "Look whether PostgreSQL runs there and lets this host in.",
}


def explain(error: SQLAlchemyError, where: str) -> CatalogError:
    """Return the `CatalogError` for what the database said."""
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    line = next(iter(said.strip().splitlines()), type(error).__name__).rstrip(".")
    remedy = next((remedy for part, remedy in _REMEDIES.items() if part in said.lower()), "")
    return CatalogError(f"The catalogue {where} failed: {line}.", remedy)
