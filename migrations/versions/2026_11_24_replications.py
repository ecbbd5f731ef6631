"""Jobs that wait for others, and replications of published tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In one statement, for SQLite would otherwise make the table anew, and what refers to its rows would go with it.
    op.execute(
        "ALTER TABLE jobs ADD COLUMN after_id VARCHAR(40) CONSTRAINT fk_jobs_after_id REFERENCES jobs (id)"
    )
    op.create_index("ix_jobs_after_id", "jobs", ["after_id"])
    op.create_table(
        "replications",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("table", sa.String(length=100), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replications")),
    )
    op.create_table(
        "replication_cells",
        sa.Column("replication_id", sa.String(length=40), nullable=False),
        sa.Column("row", sa.String(length=100), nullable=False),
        sa.Column("preset_row", sa.String(length=100), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("train_job_id", sa.String(length=40), nullable=True),
        sa.Column("train_made", sa.Boolean(), nullable=False),
        sa.Column("probe_job_id", sa.String(length=40), nullable=True),
        sa.Column("probe_made", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["replication_id"],
            ["replications.id"],
            name=op.f("fk_replication_cells_replication_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["train_job_id"],
            ["jobs.id"],
            name=op.f("fk_replication_cells_train_job_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["probe_job_id"],
            ["jobs.id"],
            name=op.f("fk_replication_cells_probe_job_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint(
            "replication_id", "row", "preset_row", "seed", name=op.f("pk_replication_cells")
        ),
    )
    op.create_index("ix_replication_cells_train_job_id", "replication_cells", ["train_job_id"])
    op.create_index("ix_replication_cells_probe_job_id", "replication_cells", ["probe_job_id"])
    with op.batch_alter_table("idempotency_keys") as keys:  # nothing refers to them
        keys.alter_column("job_id", existing_type=sa.String(length=40), nullable=True)
        keys.add_column(sa.Column("replication_id", sa.String(length=40), nullable=True))
        keys.create_foreign_key(
            "fk_idempotency_keys_replication_id",
            "replications",
            ["replication_id"],
            ["id"],
            ondelete="CASCADE",
        )


def downgrade() -> None:
    op.execute("DELETE FROM idempotency_keys WHERE job_id IS NULL")
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.drop_constraint("fk_idempotency_keys_replication_id", type_="foreignkey")
        keys.drop_column("replication_id")
        keys.alter_column("job_id", existing_type=sa.String(length=40), nullable=False)
    op.drop_table("replication_cells")
    op.drop_table("replications")
    op.drop_index("ix_jobs_after_id", table_name="jobs")
    op.drop_column("jobs", "after_id")
