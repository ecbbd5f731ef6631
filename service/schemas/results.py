"""Scores of linear probes: one by one, over seeds, and in tables beside published ones."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.paging import MAX_CHARS
from service.references import Unit
from service.schemas.jobs import JobIds
from training.events import Detail, Family
from training.spec import Protocol

Split = Literal["train", "selection", "test"]
Format = Literal["json", "csv", "markdown", "latex"]
Interval = tuple[float, float]
Verdict = Literal["within_1_std", "within_2_std", "outside", "no_std", "not_run", "other_spec"]
"""How a mean stands to a published one. `no_std`: published without a spread, only the difference can be told.
`other_spec`: of a training that is not the published one, so that they are not to be compared."""
Mark = Literal["best", "tied"]
"""How a row stands to the others of its column."""


class ResultFilters(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    dataset: str | None = None
    task: str | None = None
    metric: str | None = None
    split: Split | None = None
    protocol: Protocol | None = None
    method: str | None = None
    job_id: JobIds = []
    """With `group_by=none`: what these jobs measured, and what was measured on what they trained. Given once for each."""
    group_by: Literal["method", "none"] = "method"
    """`method`: mean and spread over the seeds of equal trainings. `none`: every score by itself, newest first."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    """With `group_by=none`."""
    compare: bool = True
    """Whether groups say how they compare with other methods' of the same seeds."""
    table: Annotated[str, Field(max_length=MAX_CHARS)] | None = None
    """A table of GET /v1/results/tables, with its rows and columns, instead of a list."""
    format: Format = "json"
    """Of a table."""
    cursor: Annotated[str, Field(max_length=4 * MAX_CHARS)] | None = None
    """With `group_by=none`: `next_cursor` of the page before."""

    @model_validator(mode="after")
    def _tables_are_whole(self) -> Self:
        beside = self.model_fields_set - {"table", "format", "protocol"}
        if self.table is not None and beside:
            name = min(beside)
            raise PydanticCustomError(
                "beside_table",
                "a table is whole, with its own rows and columns; leave out `{name}`, or `table`",
                {"name": name, "loc": f"query.{name}"},
            )
        if self.table is None and self.job_id and self.group_by != "none":
            raise PydanticCustomError(
                "jobs_grouped",
                "scores over seeds are of all jobs; add group_by=none, or leave out `job_id`",
                {"loc": "query.job_id"},
            )
        if self.table is None and self.format != "json":
            raise PydanticCustomError(
                "format_without_table",
                "lists are JSON; name a table to have it as {format}: GET /v1/results/tables lists them",
                {"format": self.format, "loc": "query.format"},
            )
        return self


class ResultOut(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    job_id: str
    """The job that measured."""
    model_job_id: str
    """The training whose representation was scored."""
    method: str
    trained_seed: int
    checkpoint_step: int
    dataset: str
    task: str
    family: Family
    metric: str
    split: Split
    protocol: Protocol
    seed: int
    """The probe's."""
    value: float
    chance: float | None
    """What guessing would give in this metric."""
    n: int
    """Samples the value was computed on."""
    details: dict[str, Detail]
    created_at: datetime


class ResultList(BaseModel):
    data: list[ResultOut]


class ResultPage(BaseModel):
    data: list[ResultOut]
    has_more: bool
    next_cursor: str | None


class SeedScore(BaseModel):
    seed: int
    """Of the training."""
    value: float


class Published(BaseModel):
    """A number of a paper, in the unit of the probes' own."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    value: float
    std: float | None
    n: int | None
    """Seeds, where it was said."""
    unit: Literal["fraction", "mse"]
    printed: str
    """As it stands there: in percent, or in ten-thousandths."""
    ran_by: str
    source: str
    primary: bool
    """Verdicts go by it: it is of the paper whose table it is."""
    table: str
    row: str
    """What that table calls the method."""


class Comparison(BaseModel):
    """With another, over the training seeds that both have: Student's paired test."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    n_common: int
    difference: float
    """This one's mean less the other's."""
    interval: Interval | None
    """95 % of the difference."""
    p: float | None
    """Two-sided; null where nothing is known of how the differences vary."""
    p_holm: float | None
    """Corrected for all pairs of methods in the column."""


class ComparedMethod(Comparison):
    method: str


class ComparedRow(Comparison):
    row: str


class GroupedResult(BaseModel):
    """One task of one method, over trainings that differ by their seed only."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    dataset: str
    task: str
    family: Family
    metric: str
    split: Split
    protocol: Protocol
    method: str
    group_sha256: str
    """Equal for rows of equal trainings; a method has a row for each way in which it was trained."""
    mean: float
    std: float | None
    """Sample standard deviation over the seeds (n - 1 in the denominator); null for a single seed."""
    n: int
    """Seeds."""
    interval: Interval | None
    """Student's 95 % interval of the mean; null for a single seed."""
    chance: float | None
    seeds: list[SeedScore]
    job_ids: list[str]
    """The trainings, in the order of their seeds."""
    published: list[Published]
    """For this very training, or where there are none, for others of the method on this task."""
    verdict: Verdict | None
    """How the mean stands to the primary published one; null where nothing was published."""
    difference: float | None
    """The mean less the primary published one; null with the verdict `other_spec`."""
    comparisons: list[ComparedMethod]
    """With each other method of the same dataset, task, metric, split and protocol that has one group there, as this has."""


class GroupedList(BaseModel):
    data: list[GroupedResult]


class Shown(BaseModel):
    """In the unit of the column."""

    mean: float
    std: float | None
    interval: Interval | None
    chance: float | None
    text: str
    """Mean ± std; of a single seed the value alone."""


class TableCell(BaseModel):
    """One row's method in one column. Numbers are the probes' own, accuracies in [0, 1]; `shown` has them as tables do."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    column: str
    state: Literal["not_run", "ran"]
    reason: str | None
    """Why it was not run."""
    preset: str | None
    group_sha256: str | None
    """Of the trainings; null for a mean of columns."""
    mean: float | None
    std: float | None
    n: int
    interval: Interval | None
    chance: float | None
    shown: Shown | None
    seeds: list[SeedScore]
    job_ids: list[str]
    published: list[Published]
    verdict: Verdict | None
    """null where nothing was published."""
    difference: float | None
    mark: Mark | None
    """`best`: significantly better than every other row of the column, upper bounds aside. `tied`: where none is, the row
    with the best mean and those that are not significantly worse."""
    comparisons: list[ComparedRow]


class TableRow(BaseModel):
    id: str
    label: str
    method: str | None
    upper_bound: bool
    cells: list[TableCell]
    """In the order of the columns."""


class TableColumn(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    title: str
    dataset: str | None
    task: str | None
    mean_of: list[str]
    """Columns that this one is the mean of, training seed by training seed."""
    family: Family
    metric: str
    split: Split
    unit: Unit
    better: Literal["higher", "lower"]
    chance: float | None


class TableView(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    title: str
    source: str | None
    """The paper whose table it is; null for our own."""
    version: int
    """Of the published numbers that this server knows."""
    protocol: Protocol
    """Of the trainings and probes that were run here."""
    columns: list[TableColumn]
    rows: list[TableRow]


class TableOut(BaseModel):
    id: str
    title: str
    source: str | None
    protocol: Protocol
    """Its presets'."""
    columns: list[str]
    rows: list[str]


class TableList(BaseModel):
    data: list[TableOut]
