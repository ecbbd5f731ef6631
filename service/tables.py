"""What the database remembers. One class per table; who may write it stands in the docstring.

Times are UTC. Ids are strings that sort by creation (`service.db.new_id`). The same schema serves SQLite and
PostgreSQL, made by the Alembic migrations and never by `create_all`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import MetaData
from sqlalchemy.types import TypeDecorator


class Utc(TypeDecorator[datetime]):
    """SQLite forgets time zones; this remembers that all of ours are UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return (
            None
            if value is None
            else value.replace(tzinfo=UTC)
            if value.tzinfo is None
            else value.astimezone(UTC)
        )


def utc_now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        datetime: Utc(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        float: Double(),
        str: String(255),
    }


class Job(Base):
    """The truth about a job. `service.jobs` moves its state; the lease columns belong to whoever holds `token`."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_created_at_id", "created_at", "id"),
        Index("ix_jobs_state_created_at", "state", "created_at"),
        Index(
            "ix_jobs_claimable",
            "queue",
            "priority",
            "id",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(default="")
    state: Mapped[str] = mapped_column(String(16), default="queued")
    reason: Mapped[str | None] = mapped_column(String(40))
    """Why it is in this state: user_cancelled, worker_lost, non_finite_loss … (a closed list in `service.jobs`)."""
    error: Mapped[str | None] = mapped_column(Text)
    """For people: what went wrong and what to do."""
    spec: Mapped[dict[str, Any]]
    spec_sha256: Mapped[str] = mapped_column(String(64), index=True)
    group_sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Equal for jobs that differ by their seed only."""
    method: Mapped[str | None] = mapped_column(String(40), index=True)
    dataset: Mapped[str | None] = mapped_column(String(100), index=True)
    seed: Mapped[int | None]
    source_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    """The training that a probe, an export or an embedding builds on."""
    cloned_from_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    after_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    """The job that must have succeeded before this one starts; it cannot be removed as long as this one is there."""

    queue: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)
    """Greater goes first."""
    max_attempts: Mapped[int] = mapped_column(default=3)
    """How often it may be lost to crashes before it counts as failed."""
    crashes: Mapped[int] = mapped_column(default=0)
    """Attempts lost since a person last queued it. Interruptions that saved their state cost nothing."""
    attempt: Mapped[int] = mapped_column(default=0)
    token: Mapped[int] = mapped_column(default=0)
    """Fencing token: grows with every claim; a write that carries an older one changes nothing."""
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    rung_at: Mapped[datetime | None]
    """When a worker was last told to look; a hint, Redis may have forgotten it."""
    cancel_requested_at: Mapped[datetime | None]

    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    events_offset: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of the run's events.jsonl that are rows already; moves in the same transaction as those rows."""
    last_event_seq: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[str] = mapped_column(default="local")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobTag(Base):
    __tablename__ = "job_tags"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(100), primary_key=True, index=True)


class Attempt(Base):
    """One try at a job by one worker. Written by the holder of `token`, and by the reconciler when it is lost."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[int]
    worker: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int | None]
    """The runner's process, with its start time so that a reused pid is not mistaken for it."""
    pid_started: Mapped[float | None]
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    """succeeded, failed, interrupted, cancelled or lost."""
    exit_code: Mapped[int | None]
    detail: Mapped[str | None] = mapped_column(Text)


class JobEvent(Base):
    """What happened to a job, append-only and numbered from 1; what the event stream sends."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    type: Mapped[str] = mapped_column(String(20))
    """state, started, checkpoint, result, head, exported, embedded or message. Progress is not kept: the job has the latest."""
    level: Mapped[str] = mapped_column(String(10), default="info")
    text: Mapped[str] = mapped_column(Text, default="")
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    actor: Mapped[str] = mapped_column(default="system")


class MetricSeries(Base):
    """One curve of one job, with the summary that lists and leaderboards read. Written by `service.metrics` only."""

    __tablename__ = "metric_series"
    __table_args__ = (
        UniqueConstraint("job_id", "name"),
        Index("ix_metric_series_name_last", "name", "last"),
        Index("ix_metric_series_name_vmax", "name", "vmax"),
        Index("ix_metric_series_name_vmin", "name", "vmin"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    n: Mapped[int] = mapped_column(BigInteger, default=0)
    n_nonfinite: Mapped[int] = mapped_column(BigInteger, default=0)
    first_step: Mapped[int | None] = mapped_column(BigInteger)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    last: Mapped[float | None]
    vmin: Mapped[float | None]
    argmin_step: Mapped[int | None] = mapped_column(BigInteger)
    vmax: Mapped[float | None]
    argmax_step: Mapped[int | None] = mapped_column(BigInteger)
    vsum: Mapped[float] = mapped_column(default=0.0)
    vsumsq: Mapped[float] = mapped_column(default=0.0)


class MetricPoint(Base):
    """One value. `value` is null when it was not finite; `nonfinite` then says nan, inf or -inf."""

    __tablename__ = "metric_points"
    __table_args__ = ({"sqlite_with_rowid": False},)

    series_id: Mapped[int] = mapped_column(
        ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float | None]
    nonfinite: Mapped[str | None] = mapped_column(String(4))
    at: Mapped[float]
    """Seconds since 1970."""
    attempt: Mapped[int]


class MetricBucket(Base):
    """Sixteen, 256 or 4,096 neighbouring points of a series, merged: what a chart of many points is drawn from."""

    __tablename__ = "metric_buckets"
    __table_args__ = ({"sqlite_with_rowid": False},)

    series_id: Mapped[int] = mapped_column(
        ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True
    )
    width: Mapped[int] = mapped_column(primary_key=True)
    no: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """Counts points, not steps: bucket `no` holds the series' points no * width … (no + 1) * width - 1."""
    n: Mapped[int]
    n_nonfinite: Mapped[int] = mapped_column(default=0)
    step0: Mapped[int] = mapped_column(BigInteger)
    step1: Mapped[int] = mapped_column(BigInteger)
    vfirst: Mapped[float | None]
    vlast: Mapped[float | None]
    vmin: Mapped[float | None]
    vmax: Mapped[float | None]
    vsum: Mapped[float] = mapped_column(default=0.0)
    vsumsq: Mapped[float] = mapped_column(default=0.0)


class Experiment(Base):
    """What loggers outside gather their runs under. Written by `service.mlflow`."""

    __tablename__ = "experiments"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_by: Mapped[str] = mapped_column(default="local")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ExternalRun(Base):
    """Says of a job of the kind `external` which experiment it is of. Its parameters and tags are the job's spec."""

    __tablename__ = "external_runs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"), index=True)


class Checkpoint(Base):
    """A checkpoint that a runner reported. Written by ingest under the job's token."""

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    epoch: Mapped[int]
    path: Mapped[str]
    """Relative to the run directory."""
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    score: Mapped[float | None]
    is_best: Mapped[bool] = mapped_column(default=False)
    exists: Mapped[bool] = mapped_column(default=True)
    """False once the run has removed it to make room."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ProbeResult(Base):
    """One score, with all that is needed to trust it. Written by ingest under the probing job's token."""

    __tablename__ = "probe_results"
    __table_args__ = (
        UniqueConstraint("job_id", "checkpoint_step", "task", "metric", "split"),
        Index("ix_probe_results_dataset_task", "dataset", "task"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    """The probe job, or the training itself for its interval probes."""
    model_job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    """The training whose representation was scored."""
    checkpoint_step: Mapped[int] = mapped_column(BigInteger)
    dataset: Mapped[str] = mapped_column(String(100))
    task: Mapped[str] = mapped_column(String(100))
    family: Mapped[str] = mapped_column(String(16))
    metric: Mapped[str] = mapped_column(String(40))
    split: Mapped[str] = mapped_column(String(16))
    protocol: Mapped[str] = mapped_column(String(16))
    seed: Mapped[int]
    value: Mapped[float]
    chance: Mapped[float | None]
    n: Mapped[int]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Model(Base):
    """A published model version. The files are the store's; this row is for lists and lineage."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("name", "version"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """sha256 of the manifest, which holds the sha256 of every file."""
    name: Mapped[str] = mapped_column(String(63), index=True)
    version: Mapped[int]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    train_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    manifest: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Alias(Base):
    """A moving name for a model version, such as `prod`."""

    __tablename__ = "aliases"

    alias: Mapped[str] = mapped_column(String(63), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("models.digest", ondelete="CASCADE"))
    updated_by: Mapped[str] = mapped_column(default="local")
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class ModelHead(Base):
    """A probe head that is attached to a model. The files are the store's, and so is the pointer by which it is served;
    this row is for lists and lineage."""

    __tablename__ = "model_heads"

    digest: Mapped[str] = mapped_column(ForeignKey("models.digest", ondelete="CASCADE"), primary_key=True)
    task: Mapped[str] = mapped_column(String(100), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the head's manifest."""
    probe_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    manifest: Mapped[dict[str, Any]]
    """Without the names of its outputs, of which there may be very many."""
    attached_by: Mapped[str] = mapped_column(default="local")
    attached_at: Mapped[datetime] = mapped_column(default=utc_now)


class Dataset(Base):
    """A dataset a user registered. The built-in ones are in `training.spec.DATASETS` and need no row."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[str | None] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_by: Mapped[str] = mapped_column(default="local")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Upload(Base):
    """Files on their way to become a dataset. `service.data.uploads` moves its state; while they are checked, the lease belongs
    to whoever holds `token`. What has arrived is the file's length, and no column."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index(
            "ix_uploads_unfinished",
            "name",
            unique=True,
            sqlite_where=text("state IN ('uploading', 'checking')"),
            postgresql_where=text("state IN ('uploading', 'checking')"),
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    format: Mapped[str] = mapped_column(String(40))
    options: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), default="uploading")
    """uploading, checking, ready or refused."""
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Of the whole file, where the client has said it."""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """Likewise."""
    received_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    """Once it has been completed."""
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(Text)
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What checking found: `unusable` samples, and the dataset's report once it is ready."""
    dataset_sha256: Mapped[str | None] = mapped_column(String(64))
    tries: Mapped[int] = mapped_column(default=0)
    """Of checking it. One that a worker gave back in order does not count."""
    token: Mapped[int] = mapped_column(default=0)
    """Fencing token, as a job's."""
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    created_by: Mapped[str] = mapped_column(default="local")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class Asset(Base):
    """An uploaded image, re-encoded and stored under its content's sha256."""

    __tablename__ = "assets"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """sha256 of the stored bytes."""
    media_type: Mapped[str] = mapped_column(String(40))
    width: Mapped[int]
    height: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(default="local")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ApiKey(Base):
    """A key, as its SHA-256. The secret itself was shown once and is nowhere."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Replication(Base):
    """A published table, or a part of it, asked for as one. Written by `service.replications`."""

    __tablename__ = "replications"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    table: Mapped[str] = mapped_column(String(100))
    request: Mapped[dict[str, Any]]
    """What was asked for, with its rows, columns and seeds spelt out."""
    created_by: Mapped[str] = mapped_column(default="local")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    cancelled_at: Mapped[datetime | None]
    """When nobody wanted it any more, and jobs of its own were cancelled; a retry forgets it."""


class ReplicationCell(Base):
    """One training of a replication, and the probe of it."""

    __tablename__ = "replication_cells"

    replication_id: Mapped[str] = mapped_column(
        ForeignKey("replications.id", ondelete="CASCADE"), primary_key=True
    )
    row: Mapped[str] = mapped_column(String(100), primary_key=True)
    preset_row: Mapped[str] = mapped_column(String(100), primary_key=True)
    """All columns of the table with these presets are read off the same training."""
    seed: Mapped[int] = mapped_column(primary_key=True)
    train_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    train_made: Mapped[bool] = mapped_column(default=False)
    """Made for this replication; else it was there before."""
    probe_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    probe_made: Mapped[bool] = mapped_column(default=False)


class IdempotencyKey(Base):
    """The answer to a POST that may be sent again. Written in the same transaction as what it created: a job or a
    replication."""

    __tablename__ = "idempotency_keys"

    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """sha256 of method, path and body."""
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    replication_id: Mapped[str | None] = mapped_column(ForeignKey("replications.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
