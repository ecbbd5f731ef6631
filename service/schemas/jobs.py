"""Jobs: what is asked for, and what is told of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.paging import MAX_CHARS
from training.spec import Kind

if TYPE_CHECKING:  # the command line, which reads answers by these schemas, has no database
    from service.tables import Job

State = Literal[
    "queued", "starting", "running", "cancelling", "interrupted", "succeeded", "failed", "cancelled"
]
JobKind = Literal[Kind, "external"]
"""What a job may be. Those of the kind `external` are run elsewhere and only told of here; no worker takes them."""
Name = Annotated[str, Field(max_length=255)]
JobIds = Annotated[list[Annotated[str, Field(max_length=MAX_CHARS)]], Field(max_length=200)]
"""To choose by."""
MOST_TAGS = 20
Tag = Annotated[str, Field(min_length=1, max_length=100)]
Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS)]
Priority = Annotated[int, Field(strict=True, ge=-100, le=100)]
MaxAttempts = Annotated[int, Field(strict=True, ge=1, le=20)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class NewJob(_Asked):
    kind: Kind
    spec: dict[str, Any] = {}
    """A TrainSpec, ProbeSpec, ExportSpec or EmbedSpec; GET /v1/methods and /v1/datasets say what a training may have. With a preset:
    what shall differ from it."""
    preset: Annotated[str, Field(max_length=100)] | None = None
    """A published run to start from, of those that GET /v1/presets lists."""
    name: Name = ""
    """For people; need not be unique."""
    tags: Tags = []
    priority: Priority = 0
    """Greater goes first."""
    max_attempts: MaxAttempts = 3
    """How often it may be lost to crashes before it counts as failed."""
    after: Annotated[str, Field(max_length=100)] | None = None
    """A job's id: this one starts once that one has succeeded, and is cancelled when that one fails or is cancelled. A
    probe, an export or an embedding `after` the training that it builds on may be asked for before that has any checkpoint."""


class CloneJob(_Asked):
    """What shall differ from the job that is cloned."""

    spec: dict[str, Any] = {}
    """Merged into the job's spec. Another method or dataset starts from its own defaults."""
    name: Name | None = None
    tags: Tags | None = None
    priority: Priority | None = None
    max_attempts: MaxAttempts | None = None


class JobChanges(_Asked):
    """What a job shall be called from now on; what is left out stays."""

    name: Name | None = None
    tags: Tags | None = None
    """All that it shall have."""
    add_tags: Tags = []
    """Besides those that it has."""
    remove_tags: Tags = []
    """One that it does not have may be among them."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("nothing_to_change", "give `name`, `tags`, `add_tags` or `remove_tags`")
        if self.tags is not None and (self.add_tags or self.remove_tags):
            raise PydanticCustomError(
                "tags_and_changes",
                "give all `tags`, or those to add and to remove, and not both",
                {"loc": "tags"},
            )
        if both := set(self.add_tags) & set(self.remove_tags):
            raise PydanticCustomError(
                "added_and_removed",
                "{tag} is to be added and to be removed",
                {"tag": repr(min(both)), "loc": "remove_tags"},
            )
        return self


class Options(_Asked):
    dry_run: bool = False
    """Only say what would run; nothing is stored."""


class JobFilters(_Asked):
    id: JobIds = []
    """Only these, given once for each. Those that there are not are left out."""
    kind: JobKind | None = None
    state: State | None = None
    method: str | None = None
    dataset: str | None = None
    tag: str | None = None
    source_job_id: str | None = None
    """A training: the probes and exports that build on it."""
    text: Annotated[str, Field(max_length=255)] | None = None
    """A part of the name, in upper or lower case, or the whole id."""
    limit: Annotated[int, Field(ge=1, le=200)] = 20
    cursor: Annotated[str, Field(max_length=4 * MAX_CHARS)] | None = None
    """`next_cursor` of the page before."""


class EventsAfter(_Asked):
    after: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Only events with a greater `seq`."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class LogTail(_Asked):
    tail: Annotated[int, Field(ge=1, le=2**20)] = 64 * 1024
    """Bytes."""


class JobOut(_Told):
    id: str
    kind: JobKind
    name: str
    tags: list[str]
    state: State
    reason: str | None
    """Why it is in this state, for programs: user_cancelled, dependency_failed, worker_lost, non_finite_loss …"""
    error: str | None
    """What went wrong and what to do, for people."""
    spec: dict[str, Any]
    spec_sha256: str
    """Equal for equal work."""
    group_sha256: str
    """Equal for jobs that differ by their seed only."""
    method: str | None
    dataset: str | None
    seed: int | None
    source_job_id: str | None
    """The training that a probe, an export or an embedding builds on."""
    cloned_from_id: str | None
    after_id: str | None
    """The job that must have succeeded before this one starts."""
    queue: str
    priority: int
    attempt: int
    """The attempt at work or the last one; 0 before the first."""
    max_attempts: int
    crashes: int
    progress: dict[str, Any]
    """{phase, step, total, epoch, rate, eta_s}, or empty before there is any."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job, tags: list[str]) -> Self:
        columns = {name: getattr(job, name) for name in cls.model_fields if name != "tags"}
        return cls.model_validate({**columns, "tags": tags})


class JobPage(BaseModel):
    data: list[JobOut]
    has_more: bool
    next_cursor: str | None


class CheckedJob(BaseModel):
    """What a dry run finds: the job would be accepted."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    valid: Literal[True] = True
    kind: Kind
    spec: dict[str, Any]
    """With all defaults filled in."""
    queue: str
    total_steps: int | None
    """Optimizer steps of a training."""
    after_id: str | None
    """The job that it would wait for."""
    spec_sha256: str
    duplicates: list[str]
    """Jobs that do, or did, exactly this."""
    warnings: list[str]
    """What is allowed, and may still not be what you expect."""


class EventOut(_Told):
    seq: int
    """Counts a job's events from 1."""
    at: datetime
    type: str
    """state, started, checkpoint, result, head, exported, embedded or message."""
    level: str
    text: str
    data: dict[str, Any]
    actor: str


class EventPage(BaseModel):
    data: list[EventOut]
    has_more: bool


class CheckpointOut(_Told):
    step: int
    epoch: int
    sha256: str
    """Of the weights."""
    size_bytes: int
    score: float | None
    is_best: bool
    exists: bool
    """False once the run has removed it to make room."""
    created_at: datetime


class CheckpointList(BaseModel):
    data: list[CheckpointOut]


class AttemptOut(_Told):
    number: int
    worker: str
    host: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    """succeeded, failed, interrupted, cancelled or lost; null while it is at work."""
    exit_code: int | None
    detail: str | None


class AttemptList(BaseModel):
    data: list[AttemptOut]
