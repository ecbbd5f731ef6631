"""Scores of representations: what each probe measured, and what a method reaches over seeds.

A group is what may be averaged: trainings whose specs are equal but for the seed, scored on the same task by the same
metric, split and protocol. In it counts

* only a training that has succeeded: a score halfway, or of a run that broke, is not what the spec promises;
* of the scores with the same training seed and the same probe seed only the newest, whichever checkpoint it looked at
  and whether the training or only its probe was repeated;
* each training seed once, as the mean over its probe seeds.

So n is the number of different training seeds, and the spread is the sample standard deviation between them (n - 1 in
the denominator), which a single seed does not have.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.paging import cursor_of, place_of
from service.schemas.results import GroupedResult, ResultOut, SeedScore
from service.tables import Job, ProbeResult

Filters = Mapping[str, str | None]
"""Column → value, None for any. `method` is the training's, the others are of ProbeResult."""
TRAINING = Job.id == ProbeResult.model_job_id


class Score(NamedTuple):
    """One measured value. The first eight fields say in which group it counts."""

    dataset: str
    metric: str
    split: str
    protocol: str
    family: str
    task: str
    method: str
    group_sha256: str
    trained_seed: int
    seed: int
    value: float
    chance: float | None
    model_job_id: str


def grouped(session: Session, filters: Filters) -> list[GroupedResult]:
    """Mean and spread over seeds, as the module says, ordered so that what stands in one table comes together."""
    of_training: dict[str, InstrumentedAttribute[Any]] = {
        "method": Job.method,
        "group_sha256": Job.group_sha256,
        "trained_seed": Job.seed,
    }
    columns: list[InstrumentedAttribute[Any]] = [
        of_training[name] if name in of_training else getattr(ProbeResult, name) for name in Score._fields
    ]
    counting = select(*columns).join(Job, TRAINING).where(Job.state == "succeeded", *_wanted(filters))
    groups: dict[tuple[Any, ...], dict[tuple[int, int], Score]] = {}
    for row in session.execute(counting.order_by(ProbeResult.id)):
        score = Score._make(row)
        newest = groups.setdefault(score[:8], {})
        newest[score.trained_seed, score.seed] = score
    return [_group(groups[key]) for key in sorted(groups)]


def page(
    session: Session, filters: Filters, cursor: str | None, limit: int
) -> tuple[list[ResultOut], str | None]:
    """Every score by itself, newest first, and the next page's cursor."""
    query = select(ProbeResult, Job.method, Job.seed).join(Job, TRAINING).where(*_wanted(filters))
    if cursor is not None:
        query = query.where(ProbeResult.id < place_of(cursor, int)[0])
    rows = session.execute(query.order_by(ProbeResult.id.desc()).limit(limit + 1)).all()
    more = len(rows) > limit
    return [_out(*row) for row in rows[:limit]], cursor_of(rows[limit - 1][0].id) if more else None


def of_job(session: Session, job_id: str) -> list[ResultOut]:
    """What the job measured, and what was measured on the model that it trained."""
    query = select(ProbeResult, Job.method, Job.seed).join(Job, TRAINING)
    mine = or_(ProbeResult.job_id == job_id, ProbeResult.model_job_id == job_id)
    return [_out(*row) for row in session.execute(query.where(mine).order_by(ProbeResult.id))]


def _wanted(filters: Filters) -> list[ColumnElement[bool]]:
    return [
        (Job.method if name == "method" else getattr(ProbeResult, name)) == value
        for name, value in filters.items()
        if value is not None
    ]


def _group(newest: Mapping[tuple[int, int], Score]) -> GroupedResult:
    """`newest`: by training seed and probe seed."""
    by_seed: dict[int, list[Score]] = {}
    for (trained_seed, _), score in sorted(newest.items()):
        by_seed.setdefault(trained_seed, []).append(score)
    means = {seed: statistics.fmean(score.value for score in scores) for seed, scores in by_seed.items()}
    common = next(iter(newest.values()))._asdict()
    return GroupedResult.model_validate(
        {
            **{name: common[name] for name in (*Score._fields[:8], "chance")},
            "mean": statistics.fmean(means.values()),
            "std": statistics.stdev(means.values()) if len(means) > 1 else None,
            "n": len(means),
            "seeds": [SeedScore(seed=seed, value=mean) for seed, mean in means.items()],
            "job_ids": list(
                dict.fromkeys(score.model_job_id for scores in by_seed.values() for score in scores)
            ),
        }
    )


def _out(result: ProbeResult, method: str | None, trained_seed: int | None) -> ResultOut:
    columns = {name: getattr(result, name) for name in ResultOut.model_fields if hasattr(result, name)}
    return ResultOut.model_validate({**columns, "method": method, "trained_seed": trained_seed})
