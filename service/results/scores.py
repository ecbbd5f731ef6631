"""The scores themselves: one by one as they were measured, and over seeds as they may be averaged."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.paging import paged, place_of
from service.schemas.results import ResultOut
from service.tables import Job, ProbeResult

Filters = Mapping[str, str | None]
"""Column → value, None for any. `method` is the training's, the others are of ProbeResult."""
TRAINING = Job.id == ProbeResult.model_job_id


class Group(NamedTuple):
    """What may be averaged: equal trainings, scored in one way."""

    dataset: str
    metric: str
    split: str
    protocol: str
    family: str
    task: str
    method: str
    group_sha256: str


class Measured(NamedTuple):
    """What a group has reached."""

    seeds: Mapping[int, float]
    """Training seed → mean over its probe seeds, in the order of the seeds."""
    chance: float | None
    job_ids: list[str]
    """The trainings, in the order of their seeds."""


class _Score(NamedTuple):
    trained_seed: int
    seed: int
    value: float
    chance: float | None
    model_job_id: str


def measured(
    session: Session, filters: Filters, groups: Iterable[str] | None = None
) -> dict[Group, Measured]:
    """groups: the group_sha256 of the trainings that are asked for; all by default."""
    columns: list[InstrumentedAttribute[Any]] = [
        _TRAINING_COLUMNS.get(name) or getattr(ProbeResult, name)
        for name in (*Group._fields, *_Score._fields)
    ]
    wanted = _wanted(filters) if groups is None else [*_wanted(filters), Job.group_sha256.in_(set(groups))]
    counting = select(*columns).join(Job, TRAINING).where(Job.state == "succeeded", *wanted)
    newest: dict[Group, dict[tuple[int, int], _Score]] = {}
    for row in session.execute(counting.order_by(ProbeResult.id)):
        score = _Score._make(row[len(Group._fields) :])
        newest.setdefault(Group._make(row[: len(Group._fields)]), {})[score.trained_seed, score.seed] = score
    return {group: _over_seeds(scores) for group, scores in newest.items()}


def page(
    session: Session, filters: Filters, cursor: str | None, limit: int, job_ids: Sequence[str] = ()
) -> tuple[list[ResultOut], str | None]:
    """Every score by itself, newest first, and the next page's cursor. Of `job_ids`, as in `of_job`, where there are any."""
    query = select(ProbeResult, Job.method, Job.seed).join(Job, TRAINING).where(*_wanted(filters))
    if job_ids:
        query = query.where(_of_jobs(job_ids))
    if cursor is not None:
        query = query.where(ProbeResult.id < place_of(cursor, int)[0])
    rows = session.execute(query.order_by(ProbeResult.id.desc()).limit(limit + 1)).all()
    newest, next_cursor = paged(rows, limit, lambda row: (row[0].id,))
    return [_out(*row) for row in newest], next_cursor


def of_job(session: Session, job_id: str) -> list[ResultOut]:
    """What the job measured, and what was measured on the model that it trained."""
    query = select(ProbeResult, Job.method, Job.seed).join(Job, TRAINING)
    return [_out(*row) for row in session.execute(query.where(_of_jobs([job_id])).order_by(ProbeResult.id))]


def _of_jobs(job_ids: Sequence[str]) -> ColumnElement[bool]:
    return or_(ProbeResult.job_id.in_(job_ids), ProbeResult.model_job_id.in_(job_ids))


_TRAINING_COLUMNS: Mapping[str, InstrumentedAttribute[Any]] = {
    "method": Job.method,
    "group_sha256": Job.group_sha256,
    "trained_seed": Job.seed,
}


def _wanted(filters: Filters) -> list[ColumnElement[bool]]:
    return [
        (Job.method if name == "method" else getattr(ProbeResult, name)) == value
        for name, value in filters.items()
        if value is not None
    ]


def _over_seeds(newest: Mapping[tuple[int, int], _Score]) -> Measured:
    """`newest`: by training seed and probe seed."""
    by_seed: dict[int, list[_Score]] = {}
    for (trained_seed, _), score in sorted(newest.items()):
        by_seed.setdefault(trained_seed, []).append(score)
    ordered = [score for scores in by_seed.values() for score in scores]
    return Measured(
        seeds={seed: statistics.fmean(score.value for score in scores) for seed, scores in by_seed.items()},
        chance=next((score.chance for score in newest.values()), None),
        job_ids=list(dict.fromkeys(score.model_job_id for score in ordered)),
    )


def _out(result: ProbeResult, method: str | None, trained_seed: int | None) -> ResultOut:
    columns = {name: getattr(result, name) for name in ResultOut.model_fields if hasattr(result, name)}
    return ResultOut.model_validate({**columns, "method": method, "trained_seed": trained_seed})
