"""Probe heads of published models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_heads",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=100), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("probe_job_id", sa.String(length=40), nullable=True),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("attached_by", sa.String(length=255), nullable=False),
        sa.Column("attached_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"], ["models.digest"], name=op.f("fk_model_heads_digest"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["probe_job_id"], ["jobs.id"], name=op.f("fk_model_heads_probe_job_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("digest", "task", name=op.f("pk_model_heads")),
    )
    op.create_index(op.f("ix_model_heads_probe_job_id"), "model_heads", ["probe_job_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_model_heads_probe_job_id"), table_name="model_heads")
    op.drop_table("model_heads")
