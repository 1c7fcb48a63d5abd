"""what a destination does not take, and what is sent instead"""

import sqlalchemy as sa
from alembic import op

from node.db.moments import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refused_classes",
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("refused_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "sop_class_uid", name=op.f("pk_refused_classes")),
    )
    op.create_table(
        "stand_ins",
        sa.Column("output_id", sa.Integer(), nullable=False),
        sa.Column("original_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name=op.f("fk_stand_ins_output_id_outputs")),
        sa.ForeignKeyConstraint(["original_id"], ["outputs.id"], name=op.f("fk_stand_ins_original_id_outputs")),
        sa.PrimaryKeyConstraint("output_id", name=op.f("pk_stand_ins")),
    )
    with op.batch_alter_table("stand_ins", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stand_ins_original_id"), ["original_id"], unique=False)

    op.create_table(
        "reserves",
        sa.Column("output_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name=op.f("fk_reserves_output_id_outputs")),
        sa.PrimaryKeyConstraint("output_id", "destination", name=op.f("pk_reserves")),
    )


def downgrade() -> None:
    op.drop_table("reserves")
    with op.batch_alter_table("stand_ins", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stand_ins_original_id"))

    op.drop_table("stand_ins")
    op.drop_table("refused_classes")
