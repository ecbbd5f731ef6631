"""Curves for charts: at most so many rows of each, whatever its length, and no spike lost.

What costs is fetching rows. So a curve is read at the finest width of which there are few enough, all curves of a width in
one statement, and merged by array operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Select, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from service.errors import InvalidError, NotFoundError
from service.metrics.merging import Columns, of_buckets, of_packed, of_points, rounded, with_gaps
from service.metrics.records import BUCKETS, POINTS, SERIES
from service.metrics.tally import WIDTHS
from service.schemas.metrics import MetricOut, PointOut
from service.tables import MetricPoint, MetricSeries

READ_PER_ROW = 4
"""A curve is merged from up to this many points or buckets a row: the more, the closer it comes to `max_points`."""
READ_AT_MOST = 100_000
"""Of all curves together, unless that would be fewer than `max_points` of each."""
ANSWER_AT_MOST = 400_000
"""Rows of all curves together."""
MAX_STEP = 2**63 - 1


def _packed(column: Any) -> Any:
    return func.string_agg(column, aggregate_order_by(literal(b""), POINTS.c.step))


PACKED = (
    select(
        POINTS.c.series_id,
        _packed(func.int8send(POINTS.c.step)),
        _packed(func.float8send(func.coalesce(POINTS.c.value, math.nan))),
    )
    .group_by(POINTS.c.series_id)
    .order_by(POINTS.c.series_id)
)
"""On PostgreSQL: a row for each series, with its columns as bytes. Read as rows of texts they take over twenty times the work."""


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
    """Both empty where nobody wants extremes."""


@dataclass
class _Asked:
    """A series, and what of it is wanted."""

    series_id: int
    curve: Curve
    places: range
    """Of points in the series, with all that are wanted; a little wider."""


class _Steps(NamedTuple):
    first: int
    last: int
    """Included."""

    @property
    def are_limited(self) -> bool:
        return self.first > 0 or self.last < MAX_STEP


def query(
    session: Session,
    job_ids: Sequence[str],
    names: Sequence[str] | None,
    from_step: int | None,
    to_step: int | None,
    max_points: int,
    *,
    extremes: bool = True,
    digits: int | None = None,
) -> list[Curve]:
    """The named curves (None: all) of the jobs, each of at most `max_points` rows.

    Their values have so many significant digits (None: all). Raises InvalidError when that would be more than an answer holds.
    """
    steps = _Steps(0 if from_step is None else from_step, MAX_STEP if to_step is None else to_step)
    asked = _asked(session, job_ids, names, steps)
    _assert_few_enough(asked, max_points)
    read_each = max(max_points, min(READ_PER_ROW * max_points, READ_AT_MOST // max(1, len(asked))))
    by_width: dict[int, dict[int, _Asked]] = {}
    for each in asked:
        total = each.curve.points_total
        width = next((width for width in (1, *WIDTHS) if total <= read_each * width), WIDTHS[-1])
        by_width.setdefault(width, {})[each.series_id] = each
    for width, some in by_width.items():
        read = _points(session, some, steps) if width == 1 else _buckets(session, some, width, steps)
        for series_id, columns in read:
            _fill(some[series_id].curve, columns, width, max_points, extremes, digits)
    return [each.curve for each in asked]


def names(session: Session, job_ids: Sequence[str]) -> list[str]:
    """Of all metrics that any of the jobs has a point of."""
    found = select(SERIES.c.name).where(SERIES.c.job_id.in_(job_ids), SERIES.c.n > 0).distinct()
    return list(session.scalars(found.order_by(SERIES.c.name)))


def summaries(session: Session, job_id: str) -> list[MetricOut]:
    series = select(MetricSeries).where(MetricSeries.job_id == job_id).order_by(MetricSeries.name)
    return [MetricOut.of(each) for each in session.scalars(series)]


def series_id_of(session: Session, job_id: str, name: str) -> int:
    """Raises NotFoundError."""
    mine = MetricSeries.job_id == job_id, MetricSeries.name == name
    series_id = session.scalar(select(MetricSeries.id).where(*mine))
    if series_id is None:
        raise NotFoundError.of("metric", name, f"list this job's with GET /v1/jobs/{job_id}/metrics")
    return series_id


def points(session: Session, job_id: str, name: str, after_step: int | None, limit: int) -> list[PointOut]:
    """Raw points in the order of their steps, a page at a time. Raises NotFoundError for an unknown name."""
    mine = select(MetricPoint).where(MetricPoint.series_id == series_id_of(session, job_id, name))
    if after_step is not None:
        mine = mine.where(MetricPoint.step > after_step)
    return [PointOut.of(point) for point in session.scalars(mine.order_by(MetricPoint.step).limit(limit))]


def _asked(
    session: Session, job_ids: Sequence[str], names: Sequence[str] | None, steps: _Steps
) -> list[_Asked]:
    """The series in the order of the answer, with their numbers of points within the steps."""
    columns = SERIES.c.id, SERIES.c.job_id, SERIES.c.name, SERIES.c.n, SERIES.c.first_step, SERIES.c.last_step
    wanted = select(*columns).where(SERIES.c.job_id.in_(job_ids), SERIES.c.n > 0)
    if names is not None:
        wanted = wanted.where(SERIES.c.name.in_(names))
    rows = session.execute(wanted.order_by(SERIES.c.job_id, SERIES.c.name)).all()
    asked = [_Asked(row.id, Curve(row.job_id, row.name, row.n, 1), range(row.n)) for row in rows]
    partly = {
        each.series_id: each
        for each, row in zip(asked, rows, strict=True)
        if row.first_step < steps.first or steps.last < row.last_step
    }
    if partly:
        _count(session, partly, steps)
    return asked


def _count(session: Session, partly: Mapping[int, _Asked], steps: _Steps) -> None:
    """Points within the steps. Those of whole buckets are known; only at the ends they are counted."""
    width = WIDTHS[-1]
    for each in partly.values():
        each.curve.points_total, each.places = 0, range(0)
    for series_id, step0, step1, no, n in _overlapping(
        session, partly, width, steps, BUCKETS.c.no, BUCKETS.c.n
    ):
        each = partly[series_id]
        each.places = range(each.places.start if each.places else no * width, (no + 1) * width)
        if not (steps.first <= step0 and step1 <= steps.last):
            within = POINTS.c.step.between(max(steps.first, step0), min(steps.last, step1))
            inside = select(func.count()).select_from(POINTS).where(POINTS.c.series_id == series_id, within)
            n = session.scalar(inside) or 0
        each.curve.points_total += n


def _overlapping(
    session: Session, asked: Mapping[int, _Asked], width: int, steps: _Steps, *columns: Any
) -> Sequence[Any]:
    """Buckets that reach into the steps: series, first step, last step, and the columns."""
    here = select(BUCKETS.c.series_id, BUCKETS.c.step0, BUCKETS.c.step1, *columns)
    here = here.where(BUCKETS.c.series_id.in_(list(asked)), BUCKETS.c.width == width)
    if steps.are_limited:
        here = here.where(BUCKETS.c.step1 >= steps.first, BUCKETS.c.step0 <= steps.last)
        # There is no index of steps, but one of the points' places in their series.
        places = [each.places for each in asked.values() if each.places]
        if places:
            least, most = min(each.start for each in places), max(each.stop for each in places)
            here = here.where(BUCKETS.c.no.between(least // width, (most - 1) // width))
    return _tuples(session, here.order_by(BUCKETS.c.series_id, BUCKETS.c.no))


def _points(session: Session, series_ids: Iterable[int], steps: _Steps) -> Iterator[tuple[int, Columns]]:
    inside = [POINTS.c.series_id.in_(list(series_ids))]
    if steps.are_limited:
        inside.append(POINTS.c.step.between(steps.first, steps.last))
    if session.get_bind().dialect.name == "postgresql":
        for series_id, packed_steps, packed_values in _tuples(session, PACKED.where(*inside)):
            yield series_id, of_packed(packed_steps, packed_values)
        return
    within = select(POINTS.c.series_id, POINTS.c.step, POINTS.c.value).where(*inside)
    rows = _tuples(session, within.order_by(POINTS.c.series_id, POINTS.c.step))
    for series_id, mine in groupby(rows, itemgetter(0)):
        yield series_id, of_points(list(mine))


def _buckets(
    session: Session, asked: Mapping[int, _Asked], width: int, steps: _Steps
) -> Iterator[tuple[int, Columns]]:
    """What lies within the steps; of a bucket that reaches beyond them, only the points within."""
    parts = BUCKETS.c.n - BUCKETS.c.n_nonfinite, BUCKETS.c.vsum, BUCKETS.c.vmin, BUCKETS.c.vmax
    rows = _overlapping(session, asked, width, steps, *parts)
    for series_id, mine in groupby(rows, itemgetter(0)):
        columns = of_buckets(list(mine))
        for place in np.flatnonzero((columns.step0 < steps.first) | (columns.step1 > steps.last)).tolist():
            step0, step1 = int(columns.step0[place]), int(columns.step1[place])
            within = _Steps(max(steps.first, step0), min(steps.last, step1))
            inside = [each for _, each in _points(session, [series_id], within)]
            columns.put(place, inside[0].merged(len(inside[0].step0)) if inside else None)
        yield series_id, columns.without_empty()


def _tuples(session: Session, statement: Select[Any]) -> Sequence[Any]:
    """Rows as the driver gives them, which takes half the time when there are tens of thousands."""
    cursor = session.execute(statement).cursor  # type: ignore[attr-defined]
    rows: Sequence[Any] = cursor.fetchall()
    return rows


def _fill(
    curve: Curve, columns: Columns, width: int, max_points: int, extremes: bool, digits: int | None
) -> None:
    together = -(-len(columns.step0) // max_points)
    merged = columns if together <= 1 else columns.merged(together)
    curve.width = width * max(1, together)
    curve.step = merged.middles()
    told = [merged.means(), merged.low, merged.high] if extremes else [merged.means()]
    shown = told if digits is None else [rounded(column, digits) for column in told]
    curve.value, *rest = map(with_gaps, shown)
    if extremes:
        curve.low, curve.high = rest


def _assert_few_enough(asked: Sequence[_Asked], max_points: int) -> None:
    rows = sum(min(max_points, each.curve.points_total) for each in asked)
    if rows > ANSWER_AT_MOST:
        raise InvalidError.at(
            "/max_points",
            "too_many_rows",
            f"{len(asked)} curves of up to {max_points} rows are more than an answer's {ANSWER_AT_MOST:,}; ask for at most "
            f"{ANSWER_AT_MOST // len(asked)} points of each, or name fewer metrics or jobs",
        )
