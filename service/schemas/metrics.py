"""Curves of jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.schemas.jobs import JobKind, State
from service.tables import Job, MetricPoint, MetricSeries

Step = Annotated[int, Field(ge=0, le=2**63 - 1)]


class MetricsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    job_ids: Annotated[list[str], Field(min_length=1, max_length=50)]
    names: (
        Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=100)] | None
    ) = None
    """All metrics by default."""
    from_step: Annotated[Step, Field(strict=True)] | None = None
    to_step: Annotated[Step, Field(strict=True)] | None = None
    """Included."""
    max_points: Annotated[int, Field(strict=True, ge=2, le=2000)] = 400
    """A longer curve is merged into at most this many rows."""
    extremes: Annotated[bool, Field(strict=True)] = True
    """Whether `low` and `high` are wanted; without them an answer is half as long."""
    digits: Annotated[int, Field(strict=True, ge=2, le=12)] | None = None
    """Significant ones of `value`, `low` and `high`; all by default. Six, which charts ask for, halve an answer."""

    @model_validator(mode="after")
    def _steps_are_in_order(self) -> Self:
        if self.from_step is not None and self.to_step is not None and self.to_step < self.from_step:
            raise PydanticCustomError(
                "steps_reversed", "to_step is smaller than from_step; swap them", {"loc": "to_step"}
            )
        return self


class CurveOut(BaseModel):
    """One metric of one job as equally long columns, by rising steps."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    job_id: str
    name: str
    points_total: int
    """Points within the steps asked for."""
    width: int
    """Neighbouring points that a row stands for; fewer at the ends."""
    sampled: bool
    """Whether rows are merged points. No spike is lost: `low` and `high` are of all of them."""
    step: list[int]
    value: list[float | None]
    """The point or the mean; null where no value was finite."""
    low: list[float | None]
    high: list[float | None]
    """Both empty where `extremes` are not wanted."""


class CurveList(BaseModel):
    data: list[CurveOut]


class MetricsOf(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    job_id: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=50)]
    """Given once for each. Those that there are not have no metrics."""


class MetricNames(BaseModel):
    data: list[str]


class MetricOut(BaseModel):
    """A metric's summary over all its points."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    n: int
    """Points, those without a finite value included."""
    n_nonfinite: int
    first_step: int
    last_step: int
    last: float | None
    """Null when the last value was not finite."""
    mean: float | None
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None

    @classmethod
    def of(cls, series: MetricSeries) -> Self:
        columns = {
            name: getattr(series, name)
            for name in ("name", "n", "n_nonfinite", "first_step", "last_step", "last")
        }
        finite = series.n - series.n_nonfinite
        return cls.model_validate(
            {
                **columns,
                "mean": series.vsum / finite if finite else None,
                "min": series.vmin,
                "min_step": series.argmin_step,
                "max": series.vmax,
                "max_step": series.argmax_step,
            }
        )


class MetricList(BaseModel):
    data: list[MetricOut]


class RankedBy(BaseModel):
    """Which metric ranks the jobs, which of its values, and among which jobs."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(max_length=200)]
    """The metric's."""
    by: Literal["last", "min", "max"] = "last"
    """The last value (of jobs in which it is finite), or an extreme over all steps."""
    better: Literal["lower", "higher"]
    """What comes first."""
    kind: JobKind | None = None
    state: State | None = None
    method: str | None = None
    dataset: str | None = None
    tag: str | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=800)] | None = None
    """`next_cursor` of the page before."""


class Ranked(BaseModel):
    """A job's place by a metric: the value that ranks it, and that metric's summary."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    job_id: str
    job_name: str
    kind: JobKind
    state: State
    method: str | None
    dataset: str | None
    seed: int | None
    group_sha256: str
    """Equal for jobs that differ by their seed only."""
    value: float
    metric: MetricOut

    @classmethod
    def of(cls, series: MetricSeries, job: Job, value: float) -> Self:
        names = ("kind", "state", "method", "dataset", "seed", "group_sha256")
        columns = {name: getattr(job, name) for name in names}
        metric = MetricOut.of(series)
        return cls(job_id=job.id, job_name=job.name, value=value, metric=metric, **columns)


class Leaderboard(BaseModel):
    data: list[Ranked]
    has_more: bool
    next_cursor: str | None


class PointsAfter(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    after_step: Step | None = None
    """Only points with a greater step."""
    limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """1,000 by default. NDJSON and CSV have all points, and know no limit."""
    format: Literal["json", "ndjson", "csv"] | None = None
    """By default what `Accept` asks for: `application/x-ndjson`, `text/csv`, or a page of JSON."""

    @model_validator(mode="after")
    def _only_pages_are_limited(self) -> Self:
        if self.limit is not None and self.format in ("ndjson", "csv"):
            raise PydanticCustomError(
                "limit_of_stream", "NDJSON and CSV have all points; leave limit out", {"loc": "query.limit"}
            )
        return self


class PointOut(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    step: int
    value: float | None
    """Null when it was not finite."""
    nonfinite: Literal["nan", "inf", "-inf"] | None
    at: datetime
    attempt: int

    @classmethod
    def of(cls, point: MetricPoint) -> Self:
        columns = {name: getattr(point, name) for name in ("step", "value", "nonfinite", "attempt")}
        return cls.model_validate({**columns, "at": datetime.fromtimestamp(point.at, UTC)})


class PointPage(BaseModel):
    """Ask for the next page with `after_step`: the last step of this one."""

    data: list[PointOut]
    has_more: bool
