"""Curves of jobs: merged for charts, summarised for tables, ranked, and point by point."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from service import jobs, metrics
from service.access.auth import require
from service.deps import ReadSession, ResourcesDep
from service.metrics import exports, tfevents
from service.metrics.reading import series_id_of
from service.schemas.metrics import (
    CurveList,
    CurveOut,
    Leaderboard,
    MetricList,
    MetricNames,
    MetricsOf,
    MetricsQuery,
    PointPage,
    PointsAfter,
    RankedBy,
)
from service.web.packing import Packed

router = APIRouter(
    prefix="/v1", tags=["metrics"], dependencies=[Depends(require("read"))], route_class=Packed
)
POINTS_PER_PAGE = 1000


def _streams(*media_types: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {each: {"schema": {"type": "string"}} for each in media_types}}}


@router.post("/metrics/query")
def query(asked: MetricsQuery, session: ReadSession) -> CurveList:
    """Curves of several jobs for a chart, each merged into at most `max_points` rows."""
    jobs.assert_known(session, asked.job_ids)
    curves = metrics.query(session, **dict(asked))
    return CurveList(data=[CurveOut(**vars(curve), sampled=curve.width > 1) for curve in curves])


@router.get("/metrics/names")
def names(session: ReadSession, asked: Annotated[MetricsOf, Query()]) -> MetricNames:
    """The names of all metrics that any of these jobs has logged."""
    return MetricNames(data=metrics.names(session, asked.job_id))


@router.get("/metrics/leaderboard")
def leaderboard(session: ReadSession, asked: Annotated[RankedBy, Query()]) -> Leaderboard:
    """Jobs by one metric's last, smallest or largest value, best first."""
    columns = asked.model_dump(include={"kind", "state", "method", "dataset"})
    found, cursor = metrics.ranked(
        session, asked.name, asked.by, asked.better, columns, asked.tag, asked.cursor, asked.limit
    )
    return Leaderboard(data=found, has_more=cursor is not None, next_cursor=cursor)


@router.get("/jobs/{job_id}/metrics")
def summaries(job_id: str, session: ReadSession) -> MetricList:
    """The job's metrics: how many points, the last, the mean, and where the extremes are."""
    return MetricList(data=metrics.summaries(session, jobs.get(session, job_id).id))


@router.get("/jobs/{job_id}/metrics.csv", response_class=StreamingResponse, responses=_streams("text/csv"))
def job_as_csv(job_id: str, session: ReadSession, resources: ResourcesDep) -> StreamingResponse:
    """All points of all metrics: name, step, value, nonfinite, at, attempt. Names cannot be formulas."""
    lines = exports.job_as_csv(resources.sessions, jobs.get(session, job_id).id)
    return StreamingResponse(lines, media_type="text/csv", headers=_as_file(f"{job_id}.csv"))


@router.get(
    "/jobs/{job_id}/metrics.tfevents",
    response_class=StreamingResponse,
    responses=_streams("application/octet-stream"),
)
def job_as_tfevents(job_id: str, session: ReadSession, resources: ResourcesDep) -> StreamingResponse:
    """All points of all metrics as a file for TensorBoard, which rounds values to float32."""
    records = tfevents.events(resources.sessions, jobs.get(session, job_id).id)
    headers = _as_file(f"events.out.tfevents.{job_id}")
    return StreamingResponse(records, media_type="application/octet-stream", headers=headers)


@router.get("/jobs/{job_id}/metrics/{name:path}/points", response_model=PointPage,
            responses=_streams("application/x-ndjson", "text/csv"))  # fmt: skip
def points(
    job_id: str,
    name: str,
    session: ReadSession,
    resources: ResourcesDep,
    request: Request,
    asked: Annotated[PointsAfter, Query()],
) -> PointPage | StreamingResponse:
    """Every point as it was logged, by rising steps: a page of them as JSON, or all as NDJSON or CSV."""
    job_id = jobs.get(session, job_id).id
    wanted = asked.format or _accepted(request)
    if wanted in exports.STREAMS:
        media_type, write = exports.STREAMS[wanted]
        lines = write(resources.sessions, series_id_of(session, job_id, name), asked.after_step)
        return StreamingResponse(lines, media_type=media_type)
    limit = asked.limit or POINTS_PER_PAGE
    rows = metrics.points(session, job_id, name, asked.after_step, limit + 1)
    return PointPage(data=rows[:limit], has_more=len(rows) > limit)


def _accepted(request: Request) -> str:
    accept = request.headers.get("accept", "")
    return next((name for name, (media_type, _) in exports.STREAMS.items() if media_type in accept), "json")


def _as_file(name: str) -> dict[str, str]:
    """`name` holds a job's id, and so nothing that a header could not."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}
