"""Curves of jobs: merged for charts, summarised for tables, and point by point."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service import jobs, metrics
from service.auth import require
from service.deps import ReadSession
from service.schemas.metrics import (
    CurveList,
    CurveOut,
    MetricList,
    MetricsQuery,
    PointPage,
    PointsAfter,
)

router = APIRouter(prefix="/v1", tags=["metrics"], dependencies=[Depends(require("read"))])


@router.post("/metrics/query")
def query(asked: MetricsQuery, session: ReadSession) -> CurveList:
    """Curves of several jobs for a chart, each merged into at most `max_points` rows."""
    jobs.assert_known(session, asked.job_ids)
    curves = metrics.query(
        session, asked.job_ids, asked.names, asked.from_step, asked.to_step, asked.max_points
    )
    return CurveList(data=[CurveOut(**vars(curve), sampled=curve.width > 1) for curve in curves])


@router.get("/jobs/{job_id}/metrics")
def summaries(job_id: str, session: ReadSession) -> MetricList:
    """The job's metrics: how many points, the last, the mean, and where the extremes are."""
    return MetricList(data=metrics.summaries(session, jobs.get(session, job_id).id))


@router.get("/jobs/{job_id}/metrics/{name:path}/points")
def points(job_id: str, name: str, session: ReadSession, asked: Annotated[PointsAfter, Query()]) -> PointPage:
    """Every point as it was logged, by rising steps."""
    rows = metrics.points(session, jobs.get(session, job_id).id, name, asked.after_step, asked.limit + 1)
    return PointPage(data=rows[: asked.limit], has_more=len(rows) > asked.limit)
