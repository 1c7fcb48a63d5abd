"""the frame of a multi-frame object that a lesion or a number was found on"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("lesions", "details"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("frame", sa.Integer(), nullable=True))


def downgrade() -> None:
    for table in ("details", "lesions"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("frame")
