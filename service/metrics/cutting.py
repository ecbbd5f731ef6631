"""Removing the end of curves: what was said of steps that are done again."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import CursorResult, Row, delete, func, select
from sqlalchemy.orm import Session

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


def truncate(session: Session, job_id: str, after_step: int) -> None:
    """Removes everything later than `after_step`, as if it had never been said.

    Costs as much as what is removed: of what stays, only the last 4,095 points are read. The sums in a summary may
    differ from those of a series that was never cut by the rounding of another order of addition; nothing else does.
    """
    longer = select(*SERIES.columns).where(SERIES.c.job_id == job_id, SERIES.c.last_step > after_step)
    for row in session.execute(longer.order_by(SERIES.c.id)).all():
        cut(session, series_of(row), after_step)


def cut(session: Session, series: Series, after_step: int, *, keep: bool = False) -> None:
    """With `keep`, a series of which nothing is left stays, without a point."""
    mine = series.series_id
    later = delete(POINTS).where(POINTS.c.series_id == mine, POINTS.c.step > after_step)
    left = series.summary.n - cast(CursorResult[Any], session.execute(later)).rowcount
    session.execute(delete(BUCKETS).where(BUCKETS.c.series_id == mine, BUCKETS.c.step1 > after_step))
    if left or keep:
        _refill(session, mine, left)
        series.summary = _of_buckets(session, mine)
        summarise(session, [series])
    else:
        session.execute(delete(SERIES).where(SERIES.c.id == mine))


def _refill(session: Session, series_id: int, n: int) -> None:
    """`n`: the points that are left. The buckets in which the last ones lie were cut in two and are gone."""
    newest = select(POINTS.c.step, POINTS.c.value).where(POINTS.c.series_id == series_id)
    rows = session.execute(newest.order_by(POINTS.c.step.desc()).limit(n % WIDTHS[-1])).all()[::-1]
    steps, values = [row[0] for row in rows], [row[1] for row in rows]
    made = []
    for width in WIDTHS:
        if rest := n % width:
            bucket = Tally()
            bucket.add(steps[-rest:], values[-rest:])
            made.append(bucket_row(series_id, width, n // width, bucket))
    put(session, BUCKETS, made)


def _of_buckets(session: Session, series_id: int) -> Tally:
    """A series' summary, read off its widest buckets."""
    widest = select(*BUCKETS.columns).where(BUCKETS.c.series_id == series_id, BUCKETS.c.width == WIDTHS[-1])
    summary = Tally()
    for row in session.execute(widest.order_by(BUCKETS.c.no)).all():
        bucket = bucket_of(row)
        if bucket.vmin is not None and (summary.vmin is None or bucket.vmin < summary.vmin):
            bucket.argmin_step = _first_at(session, row, bucket.vmin)
        if bucket.vmax is not None and (summary.vmax is None or bucket.vmax > summary.vmax):
            bucket.argmax_step = _first_at(session, row, bucket.vmax)
        summary.add_tally(bucket)
    return summary


def _first_at(session: Session, bucket: Row[Any], value: float) -> int | None:
    inside = POINTS.c.series_id == bucket.series_id, POINTS.c.step.between(bucket.step0, bucket.step1)
    first: int | None = session.scalar(
        select(func.min(POINTS.c.step)).where(*inside, POINTS.c.value == value)
    )
    return first
