"""Curves: how values are kept so that a chart of a million steps costs as little as one of a hundred.

Every point is kept. Beside the points lie merged buckets of 16, 256 and 4,096 neighbours with their smallest and
largest value, so that a spike of a single step is seen at every zoom. Steps only grow within a series; what a resumed
run does again is removed first (`truncate`). Only ingest writes here, under the job's lease.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, delete, func, insert, select
from sqlalchemy.orm import Session

from service.errors import NotFoundError
from service.schemas.metrics import MetricOut, PointOut
from service.tables import MetricBucket, MetricPoint, MetricSeries
from training.events import Metrics

WIDTHS = (16, 256, 4096)
ROWS_AT_ONCE = 500
READ_PER_ROW = 4
"""A curve is merged from up to this many points or buckets a row: the more, the closer it comes to `max_points`."""
MAX_STEP = 2**63 - 1
POINT = (MetricPoint.step, MetricPoint.value, MetricPoint.nonfinite, MetricPoint.at)
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
    """Within the steps that were asked for."""
    width: int
    step: list[int] = field(default_factory=list)
    """The point's; of merged points the middle between the first and the last."""
    value: list[float | None] = field(default_factory=list)
    """The point, or the mean of the merged finite points; None where there is none."""
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)


def append(session: Session, job_id: str, attempt: int, events: Sequence[Metrics]) -> None:
    """Adds the events' values. A step that the series has reached already is left as it is."""
    new: dict[str, list[Point]] = {}
    for event in events:
        for name, value in event.values.items():
            new.setdefault(name, []).append(Point(event.step, value, None, event.at))
        for name, kind in event.nonfinite.items():
            new.setdefault(name, []).append(Point(event.step, None, kind, event.at))
    series = _series_of(session, job_id, list(new))
    for name, points in new.items():
        known = series[name]
        later = _later(points, known.last_step)
        if later:
            _insert_points(session, known, attempt, later)
            _fill_buckets(session, known, later)
            _summarise(known, later)
    session.flush()


def truncate(session: Session, job_id: str, after_step: int) -> None:
    """Removes everything later than `after_step`, as if it had never been said.

    Costs as much as what is removed: of what stays, only the last 4,095 points are read. The sums in a summary may
    differ from those of a series that was never cut by the rounding of another order of addition; nothing else does.
    """
    cut = select(MetricSeries).where(MetricSeries.job_id == job_id, MetricSeries.last_step > after_step)
    for series in session.scalars(cut).all():
        later = delete(MetricPoint).where(MetricPoint.series_id == series.id, MetricPoint.step > after_step)
        removed = cast(CursorResult[Any], session.execute(later)).rowcount
        session.execute(
            delete(MetricBucket).where(MetricBucket.series_id == series.id, MetricBucket.step1 > after_step)
        )
        if removed == series.n:
            session.delete(series)
        else:
            _refill_cut_buckets(session, series.id, series.n - removed)
            _summarise_again(session, series)
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
        for series in session.scalars(wanted.order_by(MetricSeries.job_id, MetricSeries.name)).all()
    ]


def summaries(session: Session, job_id: str) -> list[MetricOut]:
    series = select(MetricSeries).where(MetricSeries.job_id == job_id).order_by(MetricSeries.name)
    return [MetricOut.of(each) for each in session.scalars(series)]


def points(session: Session, job_id: str, name: str, after_step: int | None, limit: int) -> list[PointOut]:
    """Raw points in the order of their steps, a page at a time. Raises NotFoundError for an unknown name."""
    series_id = session.scalar(
        select(MetricSeries.id).where(MetricSeries.job_id == job_id, MetricSeries.name == name)
    )
    if series_id is None:
        raise NotFoundError.of("metric", name[:200], f"list them with GET /v1/jobs/{job_id}/metrics")
    mine = select(MetricPoint).where(MetricPoint.series_id == series_id)
    if after_step is not None:
        mine = mine.where(MetricPoint.step > after_step)
    return [PointOut.of(point) for point in session.scalars(mine.order_by(MetricPoint.step).limit(limit))]


def _curve(
    session: Session, series: MetricSeries, from_step: int | None, to_step: int | None, max_points: int
) -> Curve:
    first, last = 0 if from_step is None else from_step, MAX_STEP if to_step is None else to_step
    total = _count(session, series, first, last)
    width = next((each for each in (1, *WIDTHS) if total <= READ_PER_ROW * max_points * each), WIDTHS[-1])
    if width == 1:
        points = _points(session, series.id, first, last)
        together = -(-len(points) // max_points)
        if together <= 1:
            steps, values = [point.step for point in points], [point.value for point in points]
            return Curve(series.job_id, series.name, len(points), 1, steps, values, values, values)
        rows = [[_merge(MetricBucket(), some)] for some in _groups(points, together)]
    else:
        buckets = _buckets(session, series.id, width, first, last)
        together = -(-len(buckets) // max_points)
        rows = [list(some) for some in _groups(buckets, together)]
    curve = Curve(series.job_id, series.name, total, width * together)
    for row in rows:
        _add_row(curve, row)
    return curve


def _count(session: Session, series: MetricSeries, first: int, last: int) -> int:
    if series.first_step is None or series.last_step is None:
        return 0
    if first <= series.first_step and series.last_step <= last:
        return series.n
    within = MetricPoint.series_id == series.id, MetricPoint.step.between(first, last)
    return session.scalar(select(func.count()).select_from(MetricPoint).where(*within)) or 0


def _buckets(session: Session, series_id: int, width: int, first: int, last: int) -> list[MetricBucket]:
    """What lies within the steps; of a bucket that reaches beyond them, only the points within."""
    overlapping = (
        select(MetricBucket)
        .where(MetricBucket.series_id == series_id, MetricBucket.width == width)
        .where(MetricBucket.step1 >= first, MetricBucket.step0 <= last)
    )
    return [
        bucket
        if first <= bucket.step0 and bucket.step1 <= last
        else _merge(
            MetricBucket(), _points(session, series_id, max(first, bucket.step0), min(last, bucket.step1))
        )
        for bucket in session.scalars(overlapping.order_by(MetricBucket.no)).all()
    ]


def _add_row(curve: Curve, buckets: Sequence[MetricBucket]) -> None:
    finite = sum(each.n - each.n_nonfinite for each in buckets)
    lows = [each.vmin for each in buckets if each.vmin is not None]
    highs = [each.vmax for each in buckets if each.vmax is not None]
    curve.step.append((buckets[0].step0 + buckets[-1].step1) // 2)
    curve.value.append(_bounded(sum(each.vsum for each in buckets)) / finite if finite else None)
    curve.low.append(min(lows, default=None))
    curve.high.append(max(highs, default=None))


def _later(points: Sequence[Point], last_step: int | None) -> list[Point]:
    later: list[Point] = []
    for point in points:
        if last_step is None or point.step > last_step:
            later.append(point)
            last_step = point.step
    return later


def _series_of(session: Session, job_id: str, names: Sequence[str]) -> Mapping[str, MetricSeries]:
    found = {
        series.name: series
        for series in session.scalars(
            select(MetricSeries).where(MetricSeries.job_id == job_id, MetricSeries.name.in_(names))
        )
    }
    missing = [_empty(MetricSeries(job_id=job_id, name=name)) for name in names if name not in found]
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


def _refill_cut_buckets(session: Session, series_id: int, n: int) -> None:
    """`n`: the points that are left. The buckets in which the last ones lie were cut in two and are gone."""
    newest = select(*POINT).where(MetricPoint.series_id == series_id).order_by(MetricPoint.step.desc())
    left = [Point(*row) for row in session.execute(newest.limit(n % WIDTHS[-1])).all()][::-1]
    for width in WIDTHS:
        rest = n % width
        if rest:
            bucket = MetricBucket(series_id=series_id, width=width, no=n // width)
            session.add(_merge(bucket, left[-rest:]))


def _merge(bucket: MetricBucket, points: Sequence[Point]) -> MetricBucket:
    """Adds the points to the bucket, one by one, so that it makes no difference in how many parts they come."""
    if bucket.n is None:
        bucket.n = bucket.n_nonfinite = 0
        bucket.vsum = bucket.vsumsq = 0.0
        bucket.step0, bucket.vfirst = points[0].step, points[0].value
    bucket.n += len(points)
    bucket.step1, bucket.vlast = points[-1].step, points[-1].value
    for point in points:
        _add(bucket, point)
    return bucket


def _summarise(series: MetricSeries, points: Sequence[Point]) -> None:
    """Adds the points to the series' summary."""
    series.n += len(points)
    series.first_step = points[0].step if series.first_step is None else series.first_step
    series.last_step, series.last = points[-1].step, points[-1].value
    for point in points:
        lowest, highest = series.vmin, series.vmax
        _add(series, point)
        if series.vmin != lowest:
            series.argmin_step = point.step
        if series.vmax != highest:
            series.argmax_step = point.step


def _add(to: MetricBucket | MetricSeries, point: Point) -> None:
    if point.value is None:
        to.n_nonfinite += 1
        return
    to.vsum = _bounded(to.vsum + point.value)
    to.vsumsq = _bounded(to.vsumsq + point.value * point.value)
    to.vmin = point.value if to.vmin is None else min(to.vmin, point.value)
    to.vmax = point.value if to.vmax is None else max(to.vmax, point.value)


def _bounded(total: float) -> float:
    """A sum may outgrow a double though no value does. JSON and charts have no infinity: it stays at the largest."""
    return min(max(total, -sys.float_info.max), sys.float_info.max)


def _summarise_again(session: Session, series: MetricSeries) -> None:
    """Reads the summary off the widest buckets."""
    widest = select(MetricBucket).where(MetricBucket.series_id == series.id, MetricBucket.width == WIDTHS[-1])
    buckets = session.scalars(widest.order_by(MetricBucket.no)).all()
    _empty(series)
    series.first_step, series.last_step, series.last = buckets[0].step0, buckets[-1].step1, buckets[-1].vlast
    for bucket in buckets:
        series.n += bucket.n
        series.n_nonfinite += bucket.n_nonfinite
        series.vsum = _bounded(series.vsum + bucket.vsum)
        series.vsumsq = _bounded(series.vsumsq + bucket.vsumsq)
        if bucket.vmin is not None and (series.vmin is None or bucket.vmin < series.vmin):
            series.vmin, series.argmin_step = bucket.vmin, _first_at(session, bucket, bucket.vmin)
        if bucket.vmax is not None and (series.vmax is None or bucket.vmax > series.vmax):
            series.vmax, series.argmax_step = bucket.vmax, _first_at(session, bucket, bucket.vmax)


def _first_at(session: Session, bucket: MetricBucket, value: float) -> int | None:
    inside = MetricPoint.series_id == bucket.series_id, MetricPoint.step.between(bucket.step0, bucket.step1)
    return session.scalar(select(func.min(MetricPoint.step)).where(*inside, MetricPoint.value == value))


def _empty(series: MetricSeries) -> MetricSeries:
    series.n = series.n_nonfinite = 0
    series.vsum = series.vsumsq = 0.0
    series.first_step = series.last_step = series.argmin_step = series.argmax_step = None
    series.last = series.vmin = series.vmax = None
    return series


def _points(session: Session, series_id: int, first: int, last: int) -> list[Point]:
    within = MetricPoint.series_id == series_id, MetricPoint.step.between(first, last)
    return [Point(*row) for row in session.execute(select(*POINT).where(*within).order_by(MetricPoint.step))]


def _groups(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
