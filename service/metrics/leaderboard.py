"""The best of many jobs by one metric: read off the summaries by an index, however many points there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from service.errors import InvalidError
from service.paging import paged, place_of
from service.schemas.metrics import Ranked
from service.tables import Job, JobTag, MetricSeries

By = Literal["last", "min", "max"]
COLUMNS: Mapping[By, Any] = {
    "last": MetricSeries.last,
    "min": MetricSeries.vmin,
    "max": MetricSeries.vmax,
}


def ranked(
    session: Session,
    name: str,
    by: By,
    better: Literal["lower", "higher"],
    filters: Mapping[str, str | None],
    tag: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[Ranked], str | None]:
    """The jobs with this metric, best first, and the next page's cursor. Jobs that have no finite value are left out.

    `filters`: a job's column → value, None for any.
    """
    column = COLUMNS[by]
    best_first = select(MetricSeries, Job).join(Job, Job.id == MetricSeries.job_id)
    best_first = best_first.where(MetricSeries.name == name, column.is_not(None))
    for field, wanted in filters.items():
        if wanted is not None:
            best_first = best_first.where(getattr(Job, field) == wanted)
    if tag is not None:
        best_first = best_first.join(JobTag).where(JobTag.tag == tag)
    if cursor is not None:
        best_first = best_first.where(_behind(column, better, cursor))
    order = (column, MetricSeries.id) if better == "lower" else (column.desc(), MetricSeries.id.desc())
    rows = session.execute(best_first.order_by(*order).limit(limit + 1)).all()
    page, next_cursor = paged(rows, limit, lambda row: (repr(getattr(row[0], column.key)), row[0].id))
    return [Ranked.of(series, job, getattr(series, column.key)) for series, job in page], next_cursor


def _behind(column: Any, better: Literal["lower", "higher"], cursor: str) -> Any:
    text, series_id = place_of(cursor, str, int)
    try:
        value = float(text)
    except ValueError:
        raise InvalidError.at(
            "/query/cursor",
            "bad_cursor",
            "not a cursor of this list; pass `next_cursor` back as it was given",
        ) from None
    if better == "lower":
        return or_(column > value, and_(column == value, MetricSeries.id > series_id))
    return or_(column < value, and_(column == value, MetricSeries.id < series_id))
