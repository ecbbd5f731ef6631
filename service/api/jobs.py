"""Jobs: submit, look, name, cancel, retry, clone, and what each has said."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.sse import EventSourceResponse

from service import idempotency, jobs, logs, naming, requests, results, stream
from service.access.auth import Principal, require
from service.api.repeatable import Key, point_to
from service.deps import ReadSession, ResourcesDep, WriteSession
from service.schemas.jobs import (
    AttemptList,
    AttemptOut,
    CheckedJob,
    CheckpointList,
    CheckpointOut,
    CloneJob,
    EventOut,
    EventPage,
    EventsAfter,
    JobChanges,
    JobFilters,
    JobOut,
    JobPage,
    LogTail,
    NewJob,
    Options,
)
from service.schemas.results import ResultList
from service.web.packing import Packed
from training.run_dir import RunDir

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Packed)
read = Depends(require("read"))
Submitter = Annotated[Principal, Depends(require("submit"))]
LastEvent = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**31 - 1)]


@router.post(
    "",
    status_code=201,
    response_model=JobOut,
    responses={200: {"model": CheckedJob, "description": "Dry run"}},
)
def submit(
    asked: NewJob,
    options: Annotated[Options, Query()],
    session: WriteSession,
    submitter: Submitter,
    response: Response,
    idempotency_key: Key = None,
) -> JobOut | JSONResponse:
    """Queue a training, a probe, an export, or the embedding of a dataset. With `dry_run`, only say what would run."""
    if options.dry_run:
        return JSONResponse(requests.dry_run(session, asked).model_dump(mode="json"))
    job, replayed = idempotency.once(
        session,
        submitter.name,
        idempotency_key,
        idempotency.fingerprint("POST", router.prefix, asked),
        lambda: jobs.submit(session, asked, submitter.name),
    )
    point_to(response, f"{router.prefix}/{job.id}", replayed)
    return jobs.told(session, [job])[0]


@router.get("", dependencies=[read])
def list_jobs(session: ReadSession, filters: Annotated[JobFilters, Query()]) -> JobPage:
    """Newest first."""
    columns = filters.model_dump(include={"kind", "state", "method", "dataset", "source_job_id"})
    found, cursor = jobs.page(
        session, columns, filters.tag, filters.cursor, filters.limit, text=filters.text, ids=filters.id
    )
    return JobPage(data=jobs.told(session, found), has_more=cursor is not None, next_cursor=cursor)


@router.get("/{job_id}", dependencies=[read])
def get_job(job_id: str, session: ReadSession) -> JobOut:
    return jobs.told(session, [jobs.get(session, job_id)])[0]


@router.patch("/{job_id}", dependencies=[Depends(require("submit"))])
def change_job(job_id: str, asked: JobChanges, session: WriteSession) -> JobOut:
    """Call a job otherwise: by another name, or with other tags. What it does stays as it is."""
    job = jobs.locked(session, job_id)
    naming.change(session, job, asked)
    return jobs.told(session, [job])[0]


@router.post(
    "/{job_id}/cancel", responses={202: {"model": JobOut, "description": "It has been asked to stop"}}
)
def cancel(job_id: str, session: WriteSession, submitter: Submitter, response: Response) -> JobOut:
    """Stop a job; it keeps its last checkpoint. A job that has ended stays as it is."""
    job = jobs.locked(session, job_id)
    jobs.cancel(session, job, submitter.name)
    response.status_code = 202 if job.state == "cancelling" else 200
    return jobs.told(session, [job])[0]


@router.post("/{job_id}/retry")
def retry(job_id: str, session: WriteSession, submitter: Submitter) -> JobOut:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    job = jobs.locked(session, job_id)
    jobs.retry(session, job, submitter.name)
    return jobs.told(session, [job])[0]


@router.post("/{job_id}/clone", status_code=201)
def clone(
    job_id: str,
    session: WriteSession,
    submitter: Submitter,
    response: Response,
    changes: CloneJob | None = None,
    idempotency_key: Key = None,
) -> JobOut:
    """Queue a new job with the same spec, or one that differs in what is sent."""
    original = jobs.get(session, job_id)
    job, replayed = idempotency.once(
        session,
        submitter.name,
        idempotency_key,
        idempotency.fingerprint("POST", f"{router.prefix}/{job_id}/clone", changes),
        lambda: jobs.clone(session, original, changes or CloneJob(), submitter.name),
    )
    point_to(response, f"{router.prefix}/{job.id}", replayed)
    return jobs.told(session, [job])[0]


@router.get("/{job_id}/events", dependencies=[read], response_model=EventPage,
            responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}})  # fmt: skip
def events(
    job_id: str,
    session: ReadSession,
    resources: ResourcesDep,
    request: Request,
    asked: Annotated[EventsAfter, Query()],
    last_event_id: LastEvent = None,
) -> EventPage | EventSourceResponse:
    """What has happened, oldest first. With `Accept: text/event-stream`, also what happens next, until the job ends.

    The stream sends each event with its `seq` as id, `progress` when it changes, and `end` last.
    """
    jobs.get(session, job_id)
    if "text/event-stream" in request.headers.get("accept", ""):
        after = asked.after if last_event_id is None else last_event_id
        happening = stream.job_events(resources.sessions, resources.leaving, job_id, after)
        return EventSourceResponse(happening, headers={"X-Accel-Buffering": "no"})
    rows = jobs.events(session, job_id, asked.after, asked.limit + 1)
    data = [EventOut.model_validate(row) for row in rows[: asked.limit]]
    return EventPage(data=data, has_more=len(rows) > asked.limit)


@router.get("/{job_id}/logs", dependencies=[read], response_class=PlainTextResponse)
def get_log(
    job_id: str, session: ReadSession, resources: ResourcesDep, asked: Annotated[LogTail, Query()]
) -> PlainTextResponse:
    """The end of what the runner printed, from the start of a line on; empty before it has printed anything."""
    job = jobs.get(session, job_id)
    return PlainTextResponse(logs.tail(RunDir(resources.settings.runs_dir / job.id).log, asked.tail))


@router.get("/{job_id}/checkpoints", dependencies=[read])
def checkpoints(job_id: str, session: ReadSession) -> CheckpointList:
    """All that a training has written, also those it has removed to make room."""
    rows = jobs.checkpoints(session, jobs.get(session, job_id).id)
    return CheckpointList(data=[CheckpointOut.model_validate(row) for row in rows])


@router.get("/{job_id}/results", dependencies=[read])
def job_results(job_id: str, session: ReadSession) -> ResultList:
    """The scores that a probe measured, or that probes measured on what a training has learned."""
    return ResultList(data=results.of_job(session, jobs.get(session, job_id).id))


@router.get("/{job_id}/attempts", dependencies=[read])
def attempts(job_id: str, session: ReadSession) -> AttemptList:
    """Which workers have tried it, and how each attempt ended."""
    rows = jobs.attempts(session, jobs.get(session, job_id).id)
    return AttemptList(data=[AttemptOut.model_validate(row) for row in rows])
