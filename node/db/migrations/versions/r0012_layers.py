"""what lies over an image on the pages, and the order of the list of studies"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "layers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("sop_uid", sa.String(length=64), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=True),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name=op.f("fk_layers_analysis_id_analyses")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layers")),
    )
    op.create_index("ix_layers_analysis", "layers", ["analysis_id", "sop_uid"])
    op.create_index("ix_studies_last_received", "studies", ["last_received_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_studies_last_received", "studies")
    op.drop_table("layers")
