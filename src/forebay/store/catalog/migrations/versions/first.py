"""Make the tables of proposals, runs, acquisitions, jobs and files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them all; there was nothing before."""
    op.create_table(
        "proposals",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), nullable=True),
        sa.Column("last_run", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_acquisition", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_proposals")),
    )
    op.create_table(
        "runs",
        sa.Column("proposal", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("last_acquisition", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["proposal"], ["proposals.name"], name=op.f("fk_runs_proposal")),
        sa.PrimaryKeyConstraint("proposal", "number", name=op.f("pk_runs")),
    )
    op.create_table(
        "acquisitions",
        sa.Column("proposal", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unique_number", sa.Integer(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["proposal", "run"], ["runs.proposal", "runs.number"], name=op.f("fk_acquisitions_proposal_run")
        ),
        sa.PrimaryKeyConstraint("proposal", "run", "number", name=op.f("pk_acquisitions")),
        sa.UniqueConstraint("proposal", "unique_number", name=op.f("uq_acquisitions_proposal_unique_number")),
    )
    op.create_table(
        "jobs",
        sa.Column("serial", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("proposal", sa.Text(), nullable=True),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("acquisition", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("n_done", sa.BigInteger(), nullable=False),
        sa.Column("n_asked", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("deadline_ns", sa.BigInteger(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("heartbeat_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["proposal", "run", "acquisition"],
            ["acquisitions.proposal", "acquisitions.run", "acquisitions.number"],
            name=op.f("fk_jobs_proposal_run_acquisition"),
        ),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_jobs")),
        sa.UniqueConstraint("id", name=op.f("uq_jobs_id")),
    )
    op.create_index(
        op.f("ix_jobs_proposal_run_acquisition"), "jobs", ["proposal", "run", "acquisition"], unique=False
    )
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"], unique=False)
    op.create_table(
        "job_changes",
        sa.Column("serial", SERIAL, autoincrement=True, nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_job_changes_job")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_job_changes")),
    )
    op.create_index(op.f("ix_job_changes_job"), "job_changes", ["job"], unique=False)
    op.create_table(
        "files",
        sa.Column("serial", SERIAL, autoincrement=True, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("proposal", sa.Text(), nullable=True),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("acquisition", sa.Integer(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("first_pulse", sa.BigInteger(), nullable=True),
        sa.Column("last_pulse", sa.BigInteger(), nullable=True),
        sa.Column("n_expected", sa.BigInteger(), nullable=True),
        sa.Column("n_got", sa.BigInteger(), nullable=False),
        sa.Column("n_missing", sa.BigInteger(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Text(), nullable=False),
        sa.Column("checked_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_files")),
        sa.UniqueConstraint("path", name=op.f("uq_files_path")),
    )
    op.create_index(op.f("ix_files_job"), "files", ["job"], unique=False)
    op.create_index(
        op.f("ix_files_proposal_run_acquisition"), "files", ["proposal", "run", "acquisition"], unique=False
    )
