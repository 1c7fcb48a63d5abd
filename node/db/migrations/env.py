"""Alembic's entry: runs the migrations on the connection that ``db.upgrade`` hands over."""

from alembic import context

# Imported because their tables belong to the metadata.
from node.db import (  # noqa: F401
    account_tables,
    audit_tables,
    commitment_tables,
    destination_tables,
    key_tables,
    layer_tables,
    member_tables,
    query_tables,
    retention_tables,
    tally_tables,
)
from node.db.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
