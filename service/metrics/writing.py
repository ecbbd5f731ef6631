"""Values become points, buckets and summaries. Whoever writes holds the job's lease, or has locked its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, select, union_all
from sqlalchemy.orm import Session

from service.metrics.cutting import cut
from service.metrics.records import (
    BUCKETS,
    POINTS,
    SERIES,
    Series,
    bucket_of,
    bucket_row,
    series_of,
    summarise,
)
from service.metrics.rows import put
from service.metrics.tally import WIDTHS, Tally
from service.tables import MetricSeries
from training.events import Metrics


@dataclass(slots=True)
class Values:
    """A metric's values as equally long columns."""

    steps: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    """None where a value was not finite; `kinds` then says nan, inf or -inf."""
    kinds: list[str | None] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    """Seconds since 1970."""

    def add(self, step: int, value: float | None, kind: str | None, at: float) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.kinds.append(kind)
        self.at.append(at)


def append(session: Session, job_id: str, attempt: int, events: Sequence[Metrics]) -> None:
    """Adds the events' values. A step that the series has reached already is left as it is."""
    new: dict[str, Values] = {}
    for event in events:
        for name, value in event.values.items():
            new.setdefault(name, Values()).add(event.step, value, None, event.at)
        for name, kind in event.nonfinite.items():
            new.setdefault(name, Values()).add(event.step, None, kind, event.at)
    append_values(session, job_id, attempt, new)


def append_values(session: Session, job_id: str, attempt: int, new: Mapping[str, Values]) -> None:
    """The same by the metrics' names."""
    _add(session, attempt, _with_names(session, job_id, new), new)


def overwrite(session: Session, job_id: str, attempt: int, new: Mapping[str, Values]) -> None:
    """Adds values that may come in any order and again: of a step's values the latest by its time counts.

    Costs as much as what lies behind the first of the new steps; what is sent a second time changes nothing.
    """
    every = _with_names(session, job_id, new)
    ready: dict[str, Values] = {}
    for series in every:
        values = new[series.name]
        last_step = series.summary.step1
        if last_step is None or min(values.steps) > last_step:
            ready[series.name] = _merged({}, values)
            continue
        known = _points(session, series.series_id, min(values.steps))
        merged = _merged(known, values)
        if list(zip(merged.steps, merged.values, merged.kinds, merged.at, strict=True)) != [
            (step, *rest) for step, rest in known.items()
        ]:
            cut(session, series, min(values.steps) - 1, keep=True)
            ready[series.name] = merged
    _add(session, attempt, [series for series in every if series.name in ready], ready)


def _add(session: Session, attempt: int, every: Sequence[Series], new: Mapping[str, Values]) -> None:
    points: list[Sequence[Any]] = []
    buckets: list[Sequence[Any]] = []
    changed: list[Series] = []
    unfinished = _unfinished(session, every)
    for series in sorted(every, key=lambda each: each.series_id):  # everybody locks rows in the same order
        later = _later(new[series.name], series.summary.step1)
        if not later.steps:
            continue
        same = [series.series_id] * len(later.steps), [attempt] * len(later.steps)
        points += zip(same[0], later.steps, later.values, later.kinds, later.at, same[1], strict=True)
        buckets += _filled(series, later, unfinished)
        series.summary.add(later.steps, later.values)
        changed.append(series)
    put(session, POINTS, points)
    put(session, BUCKETS, buckets, replace=True)
    summarise(session, changed)


def _with_names(session: Session, job_id: str, names: Mapping[str, Values]) -> list[Series]:
    """The job's series of these names, made where there are none yet."""
    mine = select(*SERIES.columns).where(SERIES.c.job_id == job_id, SERIES.c.name.in_(list(names)))
    session.flush()
    found = [series_of(row) for row in session.execute(mine)]
    missing = sorted(names.keys() - {series.name for series in found})
    if missing:
        made = insert(MetricSeries).returning(MetricSeries.id, MetricSeries.name)
        rows = session.execute(made, [{"job_id": job_id, "name": name} for name in missing])
        found += [Series(series_id, job_id, name, Tally()) for series_id, name in rows]
    return found


def _later(values: Values, last_step: int | None) -> Values:
    """In order of steps, without those that are reached."""
    last = -1 if last_step is None else last_step
    steps = values.steps
    if steps[0] > last and all(map(int.__lt__, steps, steps[1:])):
        return values
    later = Values()
    for step, value, kind, at in zip(steps, values.values, values.kinds, values.at, strict=True):
        if step > last:
            later.add(step, value, kind, at)
            last = step
    return later


def _unfinished(session: Session, every: Sequence[Series]) -> dict[tuple[int, int], Tally]:
    """Of each series and width the last bucket, where it has room."""
    begun = [series.series_id for series in every if series.summary.n]
    if not begun:
        return {}
    parts = [
        select(*BUCKETS.columns)
        .join(SERIES, SERIES.c.id == BUCKETS.c.series_id)
        .where(SERIES.c.id.in_(begun), BUCKETS.c.width == width, BUCKETS.c.no == SERIES.c.n // width)
        for width in WIDTHS
    ]
    return {(row[0], row[1]): bucket_of(row) for row in session.execute(union_all(*parts)).all()}


def _filled(
    series: Series, later: Values, unfinished: Mapping[tuple[int, int], Tally]
) -> list[Sequence[Any]]:
    """Goes on filling the last bucket of each width, then makes new ones."""
    rows = []
    for width in WIDTHS:
        no, used = divmod(series.summary.n, width)
        bucket = unfinished[series.series_id, width] if used else Tally()
        start = 0
        while start < len(later.steps):
            end = start + width - used
            bucket.add(later.steps[start:end], later.values[start:end])
            rows.append(bucket_row(series.series_id, width, no, bucket))
            bucket, start, no, used = Tally(), end, no + 1, 0
    return rows


def _points(
    session: Session, series_id: int, first: int
) -> dict[int, tuple[float | None, str | None, float]]:
    columns = POINTS.c.step, POINTS.c.value, POINTS.c.nonfinite, POINTS.c.at
    later = select(*columns).where(POINTS.c.series_id == series_id, POINTS.c.step >= first)
    return {
        step: (value, kind, at) for step, value, kind, at in session.execute(later.order_by(POINTS.c.step))
    }


def _merged(known: Mapping[int, tuple[float | None, str | None, float]], values: Values) -> Values:
    latest = dict(known)
    for step, value, kind, at in zip(values.steps, values.values, values.kinds, values.at, strict=True):
        if step not in latest or at >= latest[step][2]:
            latest[step] = (value, kind, at)
    merged = Values()
    for step in sorted(latest):
        merged.add(step, *latest[step])
    return merged
