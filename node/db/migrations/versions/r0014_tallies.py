"""what is counted as it happens, and indexes for what is owed and for a narrow range of probability"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("of", sa.String(length=128), nullable=False),
        sa.Column("how", sa.String(length=64), nullable=False),
        sa.Column("bucket", sa.String(length=8), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("what", "of", "how", "bucket", name=op.f("pk_tallies")),
    )
    op.create_index("ix_findings_system_version_probable", "findings", ["system", "model_version", "probability", "id"])
    op.drop_index("ix_deliveries_state_time", "deliveries")
    op.create_index("ix_deliveries_state_time", "deliveries", ["state", "owed_at", "id", "destination"])


def downgrade() -> None:
    op.drop_index("ix_deliveries_state_time", "deliveries")
    op.create_index("ix_deliveries_state_time", "deliveries", ["state", "owed_at", "id"])
    op.drop_index("ix_findings_system_version_probable", "findings")
    op.drop_table("tallies")
