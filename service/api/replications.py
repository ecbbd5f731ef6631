"""Replications: a table's trainings and probes as one request, its grid filling in, and the table in the end."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse

from service import idempotency, replications
from service.access.auth import Principal, require
from service.api.repeatable import Key, point_to
from service.api.results import TEXTS, written
from service.deps import ReadSession, WriteSession
from service.schemas.jobs import Options
from service.schemas.replications import (
    NewReplication,
    PlannedReplication,
    ReplicationFilters,
    ReplicationOut,
    ReplicationPage,
    Shown,
    TableFormat,
)
from service.schemas.results import TableView
from service.web.packing import Packed

router = APIRouter(prefix="/v1/replications", tags=["replications"], route_class=Packed)
read = Depends(require("read"))
Submitter = Annotated[Principal, Depends(require("submit"))]


@router.post(
    "",
    status_code=201,
    response_model=ReplicationOut,
    responses={200: {"model": PlannedReplication, "description": "Dry run"}},
)
def submit(
    asked: NewReplication,
    options: Annotated[Options, Query()],
    session: WriteSession,
    submitter: Submitter,
    response: Response,
    idempotency_key: Key = None,
) -> ReplicationOut | JSONResponse:
    """Queue all trainings and probes of a table, or of some of its rows, columns and seeds; what is there already is reused.

    With `dry_run`, only say what that would be and how long it would take.
    """
    if options.dry_run:
        return JSONResponse(replications.dry_run(session, asked).model_dump(mode="json"))
    replication, replayed = idempotency.once(
        session,
        submitter.name,
        idempotency_key,
        idempotency.fingerprint("POST", router.prefix, asked),
        lambda: replications.submit(session, asked, submitter.name),
    )
    point_to(response, f"{router.prefix}/{replication.id}", replayed)
    return replications.told(session, replication, with_results=True)


@router.get("", dependencies=[read])
def list_replications(
    session: ReadSession, filters: Annotated[ReplicationFilters, Query()]
) -> ReplicationPage:
    """Newest first."""
    found, cursor = replications.page(session, filters.table, filters.cursor, filters.limit)
    return ReplicationPage(
        data=replications.summaries(session, found), has_more=cursor is not None, next_cursor=cursor
    )


@router.get("/{replication_id}", dependencies=[read])
def get_replication(
    replication_id: str, session: ReadSession, shown: Annotated[Shown, Query()]
) -> ReplicationOut:
    """Its cells with their jobs, and the table as far as it is filled."""
    replication = replications.get(session, replication_id)
    return replications.told(session, replication, with_results=shown.results)


@router.get(
    "/{replication_id}/results",
    dependencies=[read],
    response_model=TableView,
    responses=TEXTS,
)
def get_results(
    replication_id: str, session: ReadSession, asked: Annotated[TableFormat, Query()]
) -> TableView | Response:
    """The table alone, in the formats of GET /v1/results."""
    return written(replications.view(session, replications.get(session, replication_id)), asked.format)


@router.post("/{replication_id}/cancel")
def cancel(replication_id: str, session: WriteSession, submitter: Submitter) -> ReplicationOut:
    """Stop its jobs, but for those that were there before or that another replication uses."""
    replication = replications.get(session, replication_id)
    replications.cancel(session, replication, submitter.name)
    return replications.told(session, replication, with_results=False)


@router.post("/{replication_id}/retry")
def retry(replication_id: str, session: WriteSession, submitter: Submitter) -> ReplicationOut:
    """Run the missing cells: queue failed and cancelled jobs again, which go on from their last checkpoints."""
    replication = replications.get(session, replication_id)
    replications.retry(session, replication, submitter.name)
    return replications.told(session, replication, with_results=False)
