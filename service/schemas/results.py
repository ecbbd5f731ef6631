"""Scores of linear probes, one by one and over seeds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.paging import MAX_CHARS
from training.events import Detail, Family
from training.spec import Protocol

Split = Literal["train", "selection", "test"]


class ResultFilters(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    dataset: str | None = None
    task: str | None = None
    metric: str | None = None
    split: Split | None = None
    protocol: Protocol | None = None
    method: str | None = None
    group_by: Literal["method", "none"] = "method"
    """`method`: mean and spread over the seeds of equal trainings. `none`: every score by itself, newest first."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    """With `group_by=none`."""
    cursor: Annotated[str, Field(max_length=4 * MAX_CHARS)] | None = None
    """With `group_by=none`: `next_cursor` of the page before."""


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
    chance: float | None
    seeds: list[SeedScore]
    job_ids: list[str]
    """The trainings, in the order of their seeds."""


class GroupedList(BaseModel):
    data: list[GroupedResult]
