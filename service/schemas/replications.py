"""Replications of tables: what is asked for, what it would take, and how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from service.paging import MAX_CHARS
from service.schemas.jobs import MaxAttempts, Priority, State, Tag
from service.schemas.results import Format, TableView
from training.spec import Penalty, Protocol, Seed

MAX_SEEDS = 100
FIRST_SEED = 42
CellState = Literal["queued", "running", "succeeded", "failed", "cancelled", "lost"]


def _spelt_out(seeds: Any) -> Any:
    if isinstance(seeds, list):
        return seeds
    if isinstance(seeds, int) and not isinstance(seeds, bool) and 1 <= seeds <= MAX_SEEDS:
        return list(range(FIRST_SEED, FIRST_SEED + seeds))
    raise PydanticCustomError(
        "seeds", "give how many seeds, from 1 to {most}, or a list of them", {"most": MAX_SEEDS}
    )


def _different(values: list[Any]) -> list[Any]:
    twice = next((each for place, each in enumerate(values) if each in values[:place]), None)
    if twice is not None:
        raise PydanticCustomError("twice", "{value} stands there twice", {"value": twice})
    return values


Seeds = Annotated[
    list[Seed],
    Field(min_length=1, max_length=MAX_SEEDS),
    BeforeValidator(_spelt_out, json_schema_input_type=int | list[Seed]),
    AfterValidator(_different),
]
Names = Annotated[
    list[Annotated[str, Field(max_length=MAX_CHARS)]],
    Field(min_length=1, max_length=100),
    AfterValidator(_different),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ProbeOptions(_Asked):
    """What shall differ in the probes."""

    protocol: Protocol | None = None
    """By default the training's."""
    checkpoint: Literal["last", "best"] | None = None
    """By default the last, or of trainings that stop once they get no better the best."""
    seed: Seed = 42
    penalty: Penalty = "norm"


class NewReplication(_Asked):
    table: Annotated[str, Field(max_length=MAX_CHARS)]
    """One of GET /v1/results/tables."""
    methods: Names | None = None
    """Rows of the table, or methods; by default all that can be run here."""
    columns: Names | None = None
    """By default all."""
    seeds: Seeds = _spelt_out(5)
    """How many, counted from 42, or which."""
    changes: dict[str, Any] = {}
    """Merged into the spec of every training, e.g. {"epochs": 1}."""
    probe: ProbeOptions = ProbeOptions()
    tags: Annotated[list[Tag], Field(max_length=19)] = []
    """Of the jobs that are made; they also get `replication:` and the replication's id."""
    priority: Priority = 0
    """Of the jobs that are made; greater goes first."""
    max_attempts: MaxAttempts = 3


class ReplicationFilters(_Asked):
    table: Annotated[str, Field(max_length=MAX_CHARS)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 20
    cursor: Annotated[str, Field(max_length=4 * MAX_CHARS)] | None = None
    """`next_cursor` of the page before."""


class Shown(_Asked):
    results: bool = True
    """Whether the table shall be made; following how far it is needs none."""


class TableFormat(_Asked):
    format: Format = "json"


class Counted(_Told):
    """Jobs of one kind."""

    new: int
    reused: int
    """There already, with exactly this spec: succeeded, at work or queued."""


class Estimate(_Told):
    """How long the new jobs would take."""

    seconds: float | None
    """null where nothing like it has run here."""
    basis: str
    """What that is taken from, for people."""
    workers: int
    """By how many it was divided: those that are at work now, one at least."""


class PlannedCell(_Told):
    row: str
    preset_row: str
    columns: list[str]
    """Those of the table that are read off this training."""
    seed: int
    total_steps: int
    training: str | None
    """The job that is there already."""
    probe: str | None


class PlannedReplication(_Told):
    """What a dry run finds: the replication would be accepted."""

    valid: Literal[True] = True
    table: str
    trainings: Counted
    probes: Counted
    optimizer_steps: int
    """Of all new trainings together."""
    estimate: Estimate
    cells: list[PlannedCell]


class CellJob(_Told):
    id: str
    state: State
    reason: str | None
    error: str | None
    progress: dict[str, Any]
    reused: bool
    """It was there before the replication."""


class CellOut(_Told):
    row: str
    preset_row: str
    seed: int
    state: CellState
    """`lost` where a job has been removed; a retry makes it anew."""
    training: CellJob | None
    probe: CellJob | None


class MadeOn(_Told):
    """Where trainings ran, as they said when they started."""

    device: str
    code_version: str
    trainings: int


class ReplicationSummary(_Told):
    id: str
    table: str
    request: dict[str, Any]
    """As it was asked for, with rows, columns and seeds spelt out."""
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """`failed` once all has ended and not all has succeeded; `cancelled` if nothing has failed and something was cancelled."""
    counts: dict[CellState, int]
    """Cells by state."""
    created_by: str
    created_at: datetime


class ReplicationOut(ReplicationSummary):
    cells: list[CellOut]
    made_on: list[MadeOn]
    results: TableView | None
    """The table as the replication's trainings fill it, other seeds of theirs included."""


class ReplicationPage(BaseModel):
    data: list[ReplicationSummary]
    has_more: bool
    next_cursor: str | None
