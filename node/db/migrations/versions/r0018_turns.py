"""the index of turns ends with the id, as their order does"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_jobs_turn", "jobs")
    op.create_index("ix_jobs_turn", "jobs", ["kind", "state", "turn_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_turn", "jobs")
    op.create_index("ix_jobs_turn", "jobs", ["kind", "state", "turn_at"])
