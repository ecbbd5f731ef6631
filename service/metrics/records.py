"""How tallies and points are rows: what writing and cutting share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Row, Table
from sqlalchemy.orm import Session

from service.metrics.rows import put
from service.metrics.tally import Tally
from service.tables import MetricBucket, MetricPoint, MetricSeries

POINTS = cast(Table, MetricPoint.__table__)
BUCKETS = cast(Table, MetricBucket.__table__)
SERIES = cast(Table, MetricSeries.__table__)


@dataclass(slots=True)
class Series:
    series_id: int
    job_id: str
    name: str
    summary: Tally


def series_of(row: Row[Any]) -> Series:
    summary = Tally(
        row.n, row.n_nonfinite, row.first_step, row.last_step, None, row.last,
        row.vmin, row.argmin_step, row.vmax, row.argmax_step, row.vsum, row.vsumsq,
    )  # fmt: skip
    return Series(row.id, row.job_id, row.name, summary)


def summarise(session: Session, changed: Iterable[Series]) -> None:
    """Writes the summaries of series that are there."""
    rows = [
        (
            each.series_id, each.job_id, each.name, of.n, of.n_nonfinite, of.step0, of.step1, of.vlast,
            of.vmin, of.argmin_step, of.vmax, of.argmax_step, of.vsum, of.vsumsq,
        )
        for each in changed for of in [each.summary]
    ]  # fmt: skip
    put(session, SERIES, rows, replace=True)


def bucket_of(row: Sequence[Any]) -> Tally:
    """A row with all columns of the table in their order."""
    _, _, _, n, n_nonfinite, step0, step1, vfirst, vlast, vmin, vmax, vsum, vsumsq = tuple(row)
    return Tally(n, n_nonfinite, step0, step1, vfirst, vlast, vmin, None, vmax, None, vsum, vsumsq)


def bucket_row(series_id: int, width: int, no: int, of: Tally) -> Sequence[Any]:
    return (
        series_id, width, no, of.n, of.n_nonfinite, of.step0, of.step1, of.vfirst, of.vlast, of.vmin, of.vmax, of.vsum,
        of.vsumsq,
    )  # fmt: skip
