"""procedure step and request keys of series; the rows are written again from the archive"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
ADDED = {
    "step_start_date": sa.String(length=8),
    "step_start_time": sa.String(length=16),
    "step_ids": sa.Text(),
    "procedure_ids": sa.Text(),
}


def upgrade() -> None:
    op.execute("DELETE FROM series_keys")
    with op.batch_alter_table("series_keys") as keys:
        for name, kind in ADDED.items():
            keys.add_column(sa.Column(name, kind, nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("series_keys") as keys:
        for name in ADDED:
            keys.drop_column(name)
