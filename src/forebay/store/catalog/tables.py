"""The tables of the catalogue; JSON lies in columns of text, so that both databases keep the same bytes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    true,
)

REVISION = "2"
"""The newest migration; a catalogue that says the same needs none."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts by itself in SQLite

PROPOSALS = Table(
    "proposals",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("directory", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    Column("last_run", Integer, nullable=False, server_default="0"),
    Column("last_acquisition", Integer, nullable=False, server_default="0"),
)

RUNS = Table(
    "runs",
    METADATA,
    Column("proposal", Text, ForeignKey("proposals.name"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("last_acquisition", Integer, nullable=False, server_default="0"),
    Column("side_file_is_old", Boolean, nullable=False, server_default=true()),
)

ACQUISITIONS = Table(
    "acquisitions",
    METADATA,
    Column("proposal", Text, primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("unique_number", Integer, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("side_file_is_old", Boolean, nullable=False, server_default=true()),
    ForeignKeyConstraint(["proposal", "run"], ["runs.proposal", "runs.number"]),
    UniqueConstraint("proposal", "unique_number"),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("serial", _SERIAL, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("proposal", Text),
    Column("run", Integer),
    Column("acquisition", Integer),
    Column("state", Text, nullable=False),
    Column("n_done", BigInteger, nullable=False),
    Column("n_asked", BigInteger),
    Column("result", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("deadline_ns", BigInteger),
    Column("worker", Text, nullable=False),
    Column("heartbeat_ns", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["proposal", "run", "acquisition"],
        ["acquisitions.proposal", "acquisitions.run", "acquisitions.number"],
    ),
    Index(None, "state"),
    Index(None, "proposal", "run", "acquisition"),
)

CHANGES = Table(
    "job_changes",
    METADATA,
    Column("serial", _SERIAL, primary_key=True, autoincrement=True),
    Column("job", Text, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

FILES = Table(
    "files",
    METADATA,
    Column("serial", _SERIAL, primary_key=True, autoincrement=True),
    Column("path", Text, nullable=False, unique=True),
    Column("job", Text),
    Column("proposal", Text),
    Column("run", Integer),
    Column("acquisition", Integer),
    Column("source", Text, nullable=False),
    Column("n_bytes", BigInteger, nullable=False),
    Column("sha256", Text),
    Column("first_pulse", BigInteger),
    Column("last_pulse", BigInteger),
    Column("n_expected", BigInteger),
    Column("n_got", BigInteger, nullable=False),
    Column("n_missing", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("checked", Text, nullable=False),
    Column("checked_ns", BigInteger),
    Index(None, "proposal", "run", "acquisition"),
    Index(None, "job"),
)
