"""Runs elsewhere that log their metrics here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("name", name=op.f("uq_experiments_name")),
    )
    op.create_table(
        "external_runs",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_external_runs_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name=op.f("fk_external_runs_experiment_id")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_external_runs")),
    )
    op.create_index(op.f("ix_external_runs_experiment_id"), "external_runs", ["experiment_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_external_runs_experiment_id"), table_name="external_runs")
    op.drop_table("external_runs")
    op.drop_table("experiments")
