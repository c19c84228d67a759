"""Remember which side files could not be written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add a mark to runs and acquisitions: their side files lag behind."""
    for table in ("runs", "acquisitions"):
        op.add_column(
            table, sa.Column("side_file_is_old", sa.Boolean(), nullable=False, server_default=sa.true())
        )
