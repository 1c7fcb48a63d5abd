"""readers' verdicts, and what pages of results are read from"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEXES = {
    "findings": {
        "time": ["analysed_at", "id", "probability", "decision"],
        "system_time": ["system", "analysed_at", "id", "probability", "decision", "model_version"],
        "class_time": ["class", "analysed_at", "id", "probability", "decision"],
        "system_class_time": ["system", "class", "analysed_at", "id", "probability", "decision", "calling_aet"],
        "calling_aet_time": ["calling_aet", "analysed_at", "id", "probability", "decision", "system", "class"],
        "modality_time": ["modality", "analysed_at", "id", "probability", "decision"],
        "study": ["study_id", "analysed_at", "id"],
        "probability": ["probability", "id", "analysed_at"],
        "system_class_probable": ["system", "class", "probability", "id", "analysed_at"],
    },
    "lesions": {
        "time": ["analysed_at", "id"],
        "system_class_time": ["system", "class", "analysed_at", "id"],
        "calling_aet_time": ["calling_aet", "analysed_at", "id"],
        "study": ["study_id", "analysed_at", "id"],
    },
    "deliveries": {
        "time": ["owed_at", "id", "state"],
        "state_time": ["state", "owed_at", "id"],
        "destination_time": ["destination", "owed_at", "id", "state"],
    },
    "analyses": {"time": ["analysed_at", "id"]},
}
OF_ANALYSIS = "(SELECT {} FROM analyses WHERE analyses.id = analysis_id)"
NEVER = "1970-01-01 00:00:00"  # until the line below has said when


def upgrade() -> None:
    for table in ("findings", "lesions"):
        with op.batch_alter_table(table) as altered:
            altered.add_column(sa.Column("study_id", sa.Integer(), nullable=False, server_default="0"))
            altered.add_column(sa.Column("analysed_at", sa.DateTime(), nullable=False, server_default=NEVER))
            altered.add_column(sa.Column("calling_aet", sa.String(length=16), nullable=False, server_default=""))
        sender = f"(SELECT origin_aet FROM instances WHERE instances.sop_uid = {table}.sop_uid)"
        op.execute(
            f"UPDATE {table} SET study_id = {OF_ANALYSIS.format('study_id')}, "
            f"analysed_at = {OF_ANALYSIS.format('analysed_at')}, calling_aet = COALESCE({sender}, '')"
        )
    with op.batch_alter_table("deliveries") as altered:
        altered.add_column(sa.Column("owed_at", sa.DateTime(), nullable=False, server_default=NEVER))
    op.execute(
        "UPDATE deliveries SET owed_at = (SELECT analysed_at FROM analyses JOIN outputs ON analyses.id = analysis_id "
        "WHERE outputs.id = output_id)"
    )
    op.drop_index("ix_findings_system_class_probability", "findings")  # the new one begins like it
    for table, indexes in INDEXES.items():
        for name, columns in indexes.items():
            op.create_index(f"ix_{table}_{name}", table, columns)
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name=op.f("fk_verdicts_analysis_id_analyses")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("analysis_id", "reader", name=op.f("uq_verdicts_analysis_id_reader")),
    )
    op.create_index("ix_verdicts_verdict", "verdicts", ["verdict", "analysis_id"])


def downgrade() -> None:
    op.drop_table("verdicts")
    for table, indexes in INDEXES.items():
        for name in indexes:
            op.drop_index(f"ix_{table}_{name}", table)
    op.create_index("ix_findings_system_class_probability", "findings", ["system", "class", "probability"])
    with op.batch_alter_table("deliveries") as altered:
        altered.drop_column("owed_at")
    for table in ("findings", "lesions"):
        with op.batch_alter_table(table) as altered:
            for column in ("study_id", "analysed_at", "calling_aet"):
                altered.drop_column(column)
