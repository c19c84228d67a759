"""Lets alembic work inside the transaction of whoever opens the catalogue."""

from alembic import context

from forebay.store.catalog.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
