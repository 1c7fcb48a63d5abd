"""retention: what was removed, what must stay, what we committed to a peer; priors"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("committed_at", sa.DateTime(), nullable=True))
    op.add_column("outputs", sa.Column("removed_at", sa.DateTime(), nullable=True))
    _create_removals()
    op.create_table(
        "retention_holds",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_retention_holds")),
    )
    op.create_table(
        "retention_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("allowed_until", sa.DateTime(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("remedy", sa.String(length=64), nullable=False),
        sa.Column("problem_since", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention_state")),
    )
    op.create_table(
        "study_uses",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_uses_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_uses")),
    )
    op.create_table(
        "priors",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("of_study_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["of_study_id"], ["studies.id"], name=op.f("fk_priors_of_study_id_studies")),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_priors")),
    )
    op.create_index(op.f("ix_priors_of_study_id"), "priors", ["of_study_id"])
    _mark_what_was_committed()


def _create_removals() -> None:
    op.create_table(
        "removals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_removals_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removals")),
    )
    for column in ("study_id", "removed_at", "finished_at"):
        op.create_index(op.f(f"ix_removals_{column}"), "removals", [column])
    op.create_table(
        "removed_instances",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("removal_id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("sop_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("is_own_result", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["removal_id"], ["removals.id"], name=op.f("fk_removed_instances_removal_id_removals")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_removed_instances_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removed_instances")),
    )
    for column in ("removal_id", "study_id"):
        op.create_index(op.f(f"ix_removed_instances_{column}"), "removed_instances", [column])


def _mark_what_was_committed() -> None:
    """What peers were told before this version stands in the requests alone."""
    connection = op.get_bind()
    requests = sa.table("commitment_requests", sa.column("instances"), sa.column("reported_at", sa.DateTime()))
    instances = sa.table("instances", sa.column("sop_uid"), sa.column("committed_at", sa.DateTime()))
    told = connection.execute(sa.select(requests).where(requests.c.reported_at.is_not(None))).all()
    for named, reported_at in told:
        for _, sop_uid in json.loads(named):
            mark = sa.update(instances).where(instances.c.sop_uid == sop_uid)
            connection.execute(mark.values(committed_at=reported_at))


def downgrade() -> None:
    for table in ("priors", "study_uses", "retention_state", "retention_holds", "removed_instances", "removals"):
        op.drop_table(table)
    with op.batch_alter_table("outputs") as outputs:
        outputs.drop_column("removed_at")
    with op.batch_alter_table("instances") as instances:
        instances.drop_column("committed_at")
