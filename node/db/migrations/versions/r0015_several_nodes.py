"""the nodes that share a database; when a job has its turn, and which models it asks for"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "members",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("incarnation", sa.String(length=32), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("aet", sa.String(length=16), nullable=False),
        sa.Column("roles", sa.String(length=64), nullable=False),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("pipeline", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("beat_at", sa.DateTime(), nullable=False),
        sa.Column("arriving", sa.Text(), nullable=False),
        sa.Column("clock_behind", sa.Float(), nullable=False),
        sa.Column("lost_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
    )
    op.create_table(
        "commons",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_commons")),
    )
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("turn_at", sa.DateTime(), server_default="1970-01-01 00:00:00", nullable=False))
        jobs.add_column(sa.Column("pipeline", sa.String(length=64), server_default="", nullable=False))
    op.execute("UPDATE jobs SET turn_at = created_at")
    op.create_index("ix_jobs_turn", "jobs", ["kind", "state", "turn_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_turn", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("pipeline")
        jobs.drop_column("turn_at")
    op.drop_table("commons")
    op.drop_table("members")
