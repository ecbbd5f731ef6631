"""Curves: how values are kept so that a chart of a million steps costs as little as one of a hundred.

Every point is kept. Beside the points lie merged buckets of 16, 256 and 4,096 neighbours with their smallest and
largest value, so that a spike of a single step is seen at every zoom. Steps only grow within a series; what a resumed
run does again is removed first (`truncate`). Only ingest writes here, under the job's lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from service.tables import MetricBucket, MetricPoint, MetricSeries
from training.events import Metrics

WIDTHS = (16, 256, 4096)
ROWS_AT_ONCE = 500
Item = TypeVar("Item")


@dataclass(frozen=True)
class Point:
    step: int
    value: float | None
    nonfinite: str | None
    at: float


@dataclass
class Curve:
    """A series as a chart wants it: equally long columns. With `width` > 1 a row stands for that many points."""

    job_id: str
    name: str
    points_total: int
    width: int
    step: list[int] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)
    """The point, or the mean of the bucket's finite points; None where there is none."""
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)


def append(session: Session, job_id: str, attempt: int, events: Sequence[Metrics]) -> None:
    """Adds the events' values. A step that the series already has is left as it is."""
    new: dict[str, list[Point]] = {}
    for event in events:
        for name, value in event.values.items():
            new.setdefault(name, []).append(Point(event.step, value, None, event.at))
        for name, kind in event.nonfinite.items():
            new.setdefault(name, []).append(Point(event.step, None, kind, event.at))
    series = _series_of(session, job_id, list(new))
    for name, points in new.items():
        known = series[name]
        later = [point for point in points if known.last_step is None or point.step > known.last_step]
        if later:
            _insert_points(session, known, attempt, later)
            _fill_buckets(session, known, later)
            _summarise(known, later)
    session.flush()


def truncate(session: Session, job_id: str, after_step: int) -> None:
    """Removes everything later than `after_step`, as if it had never been said."""
    for series in session.scalars(select(MetricSeries).where(MetricSeries.job_id == job_id)):
        if series.last_step is None or series.last_step <= after_step:
            continue
        mine = MetricPoint.series_id == series.id
        session.execute(delete(MetricPoint).where(mine, MetricPoint.step > after_step))
        session.execute(
            delete(MetricBucket).where(MetricBucket.series_id == series.id, MetricBucket.step1 > after_step)
        )
        left = _points(session, series.id)
        _summarise(_emptied(series), left)
        for width in WIDTHS:
            first = len(left) // width * width  # the bucket that was cut in two
            if left[first:]:
                session.add(
                    _merge(MetricBucket(series_id=series.id, width=width, no=first // width), left[first:])
                )
    session.flush()


def query(
    session: Session,
    job_ids: Sequence[str],
    names: Sequence[str] | None,
    from_step: int | None,
    to_step: int | None,
    max_points: int,
) -> list[Curve]:
    """The named curves (None: all) of the jobs, each of at most `max_points` rows."""
    wanted = select(MetricSeries).where(MetricSeries.job_id.in_(job_ids))
    if names is not None:
        wanted = wanted.where(MetricSeries.name.in_(names))
    return [
        _curve(session, series, from_step, to_step, max_points)
        for series in session.scalars(wanted.order_by(MetricSeries.job_id, MetricSeries.name))
    ]


def series_named(session: Session, job_id: str, name: str) -> MetricSeries | None:
    return session.scalar(
        select(MetricSeries).where(MetricSeries.job_id == job_id, MetricSeries.name == name)
    )


def summaries(session: Session, job_id: str) -> list[MetricSeries]:
    return list(
        session.scalars(select(MetricSeries).where(MetricSeries.job_id == job_id).order_by(MetricSeries.name))
    )


def points(session: Session, series_id: int, after_step: int | None, limit: int) -> list[MetricPoint]:
    """Raw points in the order of their steps, a page at a time."""
    mine = select(MetricPoint).where(MetricPoint.series_id == series_id)
    if after_step is not None:
        mine = mine.where(MetricPoint.step > after_step)
    return list(session.scalars(mine.order_by(MetricPoint.step).limit(limit)))


def _curve(
    session: Session, series: MetricSeries, from_step: int | None, to_step: int | None, max_points: int
) -> Curve:
    within = [MetricPoint.series_id == series.id]
    if from_step is not None:
        within.append(MetricPoint.step >= from_step)
    if to_step is not None:
        within.append(MetricPoint.step <= to_step)
    total = session.scalar(select(func.count()).select_from(MetricPoint).where(*within)) or 0
    if total <= max_points:
        found = session.scalars(select(MetricPoint).where(*within).order_by(MetricPoint.step)).all()
        steps, values = [point.step for point in found], [point.value for point in found]
        return Curve(series.job_id, series.name, total, 1, steps, values, values, values)
    width = next((each for each in WIDTHS if total <= max_points * each), WIDTHS[-1])
    overlapping = [MetricBucket.series_id == series.id, MetricBucket.width == width]
    if from_step is not None:
        overlapping.append(MetricBucket.step1 >= from_step)
    if to_step is not None:
        overlapping.append(MetricBucket.step0 <= to_step)
    buckets = session.scalars(select(MetricBucket).where(*overlapping).order_by(MetricBucket.no)).all()
    together = -(-len(buckets) // max_points)
    curve = Curve(series.job_id, series.name, total, width * together)
    for group in _groups(buckets, together):
        _add_row(curve, group)
    return curve


def _add_row(curve: Curve, buckets: Sequence[MetricBucket]) -> None:
    finite = sum(each.n - each.n_nonfinite for each in buckets)
    lows = [each.vmin for each in buckets if each.vmin is not None]
    highs = [each.vmax for each in buckets if each.vmax is not None]
    curve.step.append((buckets[0].step0 + buckets[-1].step1) // 2)
    curve.value.append(sum(each.vsum for each in buckets) / finite if finite else None)
    curve.low.append(min(lows, default=None))
    curve.high.append(max(highs, default=None))


def _series_of(session: Session, job_id: str, names: Sequence[str]) -> Mapping[str, MetricSeries]:
    found = {
        series.name: series
        for series in session.scalars(
            select(MetricSeries).where(MetricSeries.job_id == job_id, MetricSeries.name.in_(names))
        )
    }
    missing = [_emptied(MetricSeries(job_id=job_id, name=name)) for name in names if name not in found]
    session.add_all(missing)
    session.flush()
    return {**found, **{series.name: series for series in missing}}


def _insert_points(session: Session, series: MetricSeries, attempt: int, points: Sequence[Point]) -> None:
    rows = [
        {
            "series_id": series.id,
            "step": each.step,
            "value": each.value,
            "nonfinite": each.nonfinite,
            "at": each.at,
            "attempt": attempt,
        }
        for each in points
    ]
    for some in _groups(rows, ROWS_AT_ONCE):
        session.execute(insert(MetricPoint), list(some))


def _fill_buckets(session: Session, series: MetricSeries, points: Sequence[Point]) -> None:
    """Goes on filling the last bucket of each width, then makes new ones."""
    for width in WIDTHS:
        rest = list(points)
        no, used = divmod(series.n, width)
        while rest:
            some, rest = rest[: width - used], rest[width - used :]
            bucket = session.get(MetricBucket, (series.id, width, no)) if used else None
            session.add(_merge(bucket or MetricBucket(series_id=series.id, width=width, no=no), some))
            no, used = no + 1, 0


def _merge(bucket: MetricBucket, points: Sequence[Point]) -> MetricBucket:
    finite = [point.value for point in points if point.value is not None]
    if bucket.n is None:
        bucket.n = bucket.n_nonfinite = 0
        bucket.vsum = bucket.vsumsq = 0.0
        bucket.step0, bucket.vfirst = points[0].step, points[0].value
    bucket.n += len(points)
    bucket.n_nonfinite += len(points) - len(finite)
    bucket.step1, bucket.vlast = points[-1].step, points[-1].value
    bucket.vsum += sum(finite)
    bucket.vsumsq += sum(value * value for value in finite)
    bucket.vmin = min([*finite, *([] if bucket.vmin is None else [bucket.vmin])], default=None)
    bucket.vmax = max([*finite, *([] if bucket.vmax is None else [bucket.vmax])], default=None)
    return bucket


def _summarise(series: MetricSeries, points: Sequence[Point]) -> None:
    """Adds the points to the series' summary."""
    if not points:
        return
    series.n += len(points)
    series.first_step = points[0].step if series.first_step is None else series.first_step
    series.last_step, series.last = points[-1].step, points[-1].value
    for point in points:
        if point.value is None:
            series.n_nonfinite += 1
            continue
        series.vsum += point.value
        series.vsumsq += point.value * point.value
        if series.vmin is None or point.value < series.vmin:
            series.vmin, series.argmin_step = point.value, point.step
        if series.vmax is None or point.value > series.vmax:
            series.vmax, series.argmax_step = point.value, point.step


def _emptied(series: MetricSeries) -> MetricSeries:
    series.n = series.n_nonfinite = 0
    series.vsum = series.vsumsq = 0.0
    series.first_step = series.last_step = series.argmin_step = series.argmax_step = None
    series.last = series.vmin = series.vmax = None
    return series


def _points(session: Session, series_id: int) -> list[Point]:
    rows = session.execute(
        select(MetricPoint.step, MetricPoint.value, MetricPoint.nonfinite, MetricPoint.at)
        .where(MetricPoint.series_id == series_id)
        .order_by(MetricPoint.step)
    )
    return [Point(*row) for row in rows]


def _groups(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
